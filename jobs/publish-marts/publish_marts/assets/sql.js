// The page of the SQL console. The console itself is loaded when it is opened.
"use strict";

const byId = (id) => document.getElementById(id);
const place = byId("console");
const assets = new URL(place.dataset.assets, location.href);
const versions = new URL(place.dataset.versions, location.href);
let sqlConsole = null;
let lastResult = null;

function say(text, css = "status") {
  byId("message").className = css;
  byId("message").textContent = text;
}

async function open() {
  byId("open").disabled = true;
  say("loading the console …");
  try {
    const { Console } = await import(new URL("console.js", assets));
    sqlConsole = await Console.open(assets, versions);
  } catch (error) {
    byId("open").disabled = false;
    const hint = location.protocol === "file:" ? "a browser loads it only from a web server: run python3 -m http.server in the folder of the site" : error.message;
    say(`The console could not be loaded: ${hint}`, "status bad");
    return;
  }
  byId("open").hidden = true;
  byId("query").hidden = false;
  for (const button of document.querySelectorAll("[data-example]")) button.hidden = false;
  say("ready", "status good");
  byId("sql").focus();
}

// A moment without a time zone would mean another one on each computer.
function readMoment(text) {
  if (!text.trim()) return null;
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)$/.test(text.trim())) {
    throw new Error(`${text} is not a moment; expected a date and a time with Z or an offset, such as 2013-01-15T12:00:00Z`);
  }
  return new Date(text.trim());
}

function showResult({ version, names, rows, more }) {
  const head = make("thead", {}, make("tr", {}, ...names.map((name) => make("th", { scope: "col" }, name))));
  const body = make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell ?? "–")))));
  const caption = make("caption", {}, `${more ? "First " : ""}${rows.length} ${rows.length === 1 ? "row" : "rows"} of version ${version}`);
  const table = make("table", {}, caption, head, body);
  byId("result").replaceChildren(make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Result" }, table));
}

async function run(event) {
  event.preventDefault();
  const started = performance.now();
  say("running");
  byId("download").hidden = true;
  byId("result").replaceChildren();
  try {
    lastResult = await sqlConsole.run(byId("sql").value, readMoment(byId("as-of").value), (text) => say(text));
    showResult(lastResult);
    byId("download").hidden = false;
    say(`done in ${((performance.now() - started) / 1000).toFixed(1)} s`, "status good");
  } catch (error) {
    say(error.message, "status bad");
  }
}

// Text that a spreadsheet would run as a formula gets an apostrophe, as in the published CSV files.
function quoteCell(cell) {
  if (cell === null) return "";
  const text = /^[=+\-@\t\r]/.test(cell) && Number.isNaN(Number(cell)) ? `'${cell}` : cell;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function download() {
  const lines = [lastResult.names, ...lastResult.rows].map((row) => row.map(quoteCell).join(","));
  const link = make("a", { href: URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" })), download: "result.csv" });
  link.click();
  URL.revokeObjectURL(link.href);
}

byId("open").addEventListener("click", open);
byId("query").addEventListener("submit", run);
byId("download").addEventListener("click", download);
byId("sql").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("query").requestSubmit();
});
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", () => {
    byId("sql").value = byId(button.dataset.example).textContent;
    byId("sql").focus();
  });
}
