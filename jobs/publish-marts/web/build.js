// Build what the site takes from npm, into build/. The same lock gives the same bytes.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const zlib = require("node:zlib");
const esbuild = require("esbuild");

const CONSOLE = path.join("build", "console");

// The name of a package's file below node_modules.
function locate(...parts) {
  return path.join("node_modules", ...parts);
}

// Browsers unpack these themselves: a site in a bucket has no server that would compress them.
function pack(source) {
  const packed = zlib.gzipSync(fs.readFileSync(source), { level: 6 });
  fs.writeFileSync(path.join(CONSOLE, `${path.basename(source)}.gz`), packed);
}

fs.rmSync("build", { recursive: true, force: true });
fs.mkdirSync(CONSOLE, { recursive: true });
for (const name of ["uPlot.iife.min.js", "uPlot.min.css"]) fs.copyFileSync(locate("uplot", "dist", name), path.join("build", name));
esbuild.buildSync({ entryPoints: ["console.js"], bundle: true, minify: true, format: "esm", outfile: path.join(CONSOLE, "console.js"), logLevel: "warning" });
fs.copyFileSync(locate("@duckdb", "duckdb-wasm", "dist", "duckdb-browser-eh.worker.js"), path.join(CONSOLE, "duckdb-browser-eh.worker.js"));
pack(locate("@duckdb", "duckdb-wasm", "dist", "duckdb-eh.wasm"));
pack(locate("parquet-wasm", "esm", "parquet_wasm_bg.wasm"));
