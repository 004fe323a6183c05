// Interactive charts (uPlot), tables that sort and filter, and freshness by the reader's clock. Without it, the pages show the same.
"use strict";

const DAY_S = 86400;
const RANGES = [["1Y", 365], ["3Y", 3 * 365], ["All", Infinity]];
const MIN_ROWS_TO_FILTER = 10;
const figures = new Map();

// The data of a chart is a script that calls this.
const finelt = {
  receive(name, data) {
    drawChart(figures.get(name), data);
  },
};

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function readColour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function formatValue(value, data) {
  if (value == null) return "–";
  const [number, unit] = data.percent ? [value * 100, " %"] : [value, ""];
  const digits = Math.abs(number) >= 1000 ? 0 : Math.abs(number) >= 10 ? 2 : 4;
  return number.toLocaleString("en", { maximumFractionDigits: digits }) + unit;
}

function formatDate(seconds) {
  return new Date(seconds * 1000).toISOString().slice(0, 10);
}

// A tick of the date axis: a year, month or day by the distance of the ticks.
function formatTick(seconds, step) {
  return formatDate(seconds).slice(0, step >= 365 * DAY_S ? 4 : step >= 28 * DAY_S ? 7 : 10);
}

function drawChart(figure, data) {
  const drawing = figure.querySelector(".plot, .panels");
  const box = make("div", { class: "chart" });
  drawing.before(box);
  drawing.hidden = true;
  const x = data.labels ? data.x : data.x.map((day) => day * DAY_S);
  const values = [x, ...data.lines.map((line) => line.values)];
  const first = x[0], last = x[x.length - 1];
  let plot;

  function showRange(days) {
    plot.setScale("x", { min: days === Infinity ? first : Math.max(first, last - days * DAY_S), max: last });
    for (const button of figure.querySelectorAll(".ranges button")) {
      button.setAttribute("aria-pressed", String(button.dataset.days === String(days)));
    }
  }

  function build() {
    const axis = { stroke: readColour("--soft"), grid: { stroke: readColour("--grid"), width: 1 }, ticks: { stroke: readColour("--rule"), width: 1 } };
    const horizontal = data.labels
      ? { ...axis, splits: () => x, values: () => data.labels }
      : { ...axis, space: 80, values: (_, ticks, __, ___, step) => ticks.map((tick) => formatTick(tick, step)) };
    const vertical = { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => formatValue(tick, data)) };
    const options = {
      width: box.clientWidth,
      height: window.innerWidth < 700 ? 260 : 320,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "UTC"),
      scales: { x: { time: !data.labels }, y: data.zero ? { range: (_, low, high) => uPlot.rangeNum(Math.min(low, 0), Math.max(high, 0), 0.1, true) } : {} },
      axes: [horizontal, vertical],
      cursor: { points: { size: 7 } },
      series: [
        { label: data.labels ? "Maturity" : "Date", value: (_, value) => (value == null ? "–" : data.labels ? data.labels[x.indexOf(value)] : formatDate(value)) },
        ...data.lines.map((line) => ({
          label: line.name,
          stroke: readColour(`--t${line.tone}`),
          width: 1.6,
          dash: line.dashed ? [5, 3] : undefined,
          paths: line.stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
          spanGaps: line.stepped,
          points: { show: Boolean(data.labels || line.stepped) },
          value: (_, value) => formatValue(value, data),
        })),
      ],
    };
    plot = new uPlot(options, values, box);
    plot.root.setAttribute("role", "group");
  }

  build();
  box.prepend(make("p", { class: "unit" }, data.unit));
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", `${figure.querySelector("h3").textContent}. Arrow keys read the values.`);
  const spoken = make("p", { class: "visually-hidden", "aria-live": "polite" });
  box.append(spoken);
  box.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const index = Math.min(Math.max((plot.cursor.idx ?? (step > 0 ? -1 : x.length)) + step, 0), x.length - 1);
    plot.setCursor({ left: plot.valToPos(x[index], "x"), top: 0 });
    const label = data.labels ? data.labels[index] : formatDate(x[index]);
    spoken.textContent = `${label}: ${data.lines.map((line) => `${line.name} ${formatValue(line.values[index], data)}`).join(", ")}`;
  });
  if (!data.labels) {
    const buttons = RANGES.map(([text, days]) => make("button", { type: "button", "data-days": days, "aria-pressed": String(days === Infinity) }, text));
    for (const button of buttons) button.addEventListener("click", () => showRange(Number(button.dataset.days)));
    const hint = make("span", { class: "hint" }, "Drag across the chart to zoom, double-click to reset.");
    box.before(make("div", { class: "ranges", role: "group", "aria-label": "Range of dates" }, ...buttons, hint));
  }
  new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: plot.height })).observe(box);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    plot.destroy();
    build();
  });
}

function loadChartsInView() {
  const observer = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      observer.unobserve(target);
      document.head.append(make("script", { src: target.dataset.source }));
    }
  }, { rootMargin: "200px" });
  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    figures.set(figure.dataset.chart, figure);
    observer.observe(figure);
  }
}

// Numbers sort by value, everything else as text, empty cells last.
function sortKey(cell) {
  const text = cell.textContent.trim();
  if (text === "–" || text === "") return null;
  const number = Number(text.replace(/[,%\s]/g, "").replace("−", "-"));
  return cell.classList.contains("n") && !Number.isNaN(number) ? number : text.toLowerCase();
}

function sortRows(table, index, descending) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [sortKey(row.cells[index]), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return (a < b ? -1 : a > b ? 1 : 0) * (descending ? -1 : 1);
  });
  body.append(...rows.map(([, row]) => row));
}

function makeSortable(table) {
  for (const [index, head] of [...table.tHead.rows[0].cells].entries()) {
    const button = make("button", { type: "button", class: "sort" }, ...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sortRows(table, index, descending);
    });
  }
}

function makeFilterable(table) {
  const caption = table.caption.textContent;
  const input = make("input", { type: "search", placeholder: "Filter", "aria-label": `Filter ${caption}` });
  const count = make("span", { class: "hint", "aria-live": "polite" });
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    count.textContent = words.length ? `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows` : "";
  });
  table.closest(".scroll").before(make("div", { class: "filter" }, input, count));
}

function updateFreshness() {
  const today = new Date().toISOString().slice(0, 10);
  for (const badge of document.querySelectorAll("[data-late-after]")) {
    if (badge.dataset.lateAfter >= today) continue;
    badge.className = "status bad";
    badge.textContent = `late since ${badge.dataset.lateAfter}`;
  }
}

loadChartsInView();
for (const table of document.querySelectorAll("main table")) {
  if (table.tBodies[0].rows.length > 1) makeSortable(table);
  if (table.tBodies[0].rows.length >= MIN_ROWS_TO_FILTER) makeFilterable(table);
}
updateFreshness();
