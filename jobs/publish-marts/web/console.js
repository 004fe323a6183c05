// The SQL console: DuckDB in the browser, over the Parquet files of a published version.
//
// parquet-wasm reads the files, because DuckDB's own reader is an extension that it would fetch from another host.
import { AsyncDuckDB, VoidLogger } from "@duckdb/duckdb-wasm";
import initParquet, { readParquet } from "parquet-wasm/esm";

const MAX_ROWS = 1000;
const SETTINGS = "set autoinstall_known_extensions = false; set autoload_known_extensions = false; set enable_external_access = false; set lock_configuration = true";

async function fetchOk(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} cannot be read (${response.status}); it may have been withdrawn`);
  return response;
}

async function fetchJson(url) {
  return (await fetchOk(url)).json();
}

async function unpack(url) {
  const { body } = await fetchOk(url);
  return new Response(body.pipeThrough(new DecompressionStream("gzip")), { headers: { "Content-Type": "application/wasm" } });
}

// The newest version that was published by a moment; the newest of all without one.
async function findVersion(versions, moment) {
  let { version } = await fetchJson(new URL("../latest.json", versions));
  while (moment) {
    const { published_at: publishedAt } = await fetchJson(new URL(`${version}/published.json`, versions));
    if (new Date(publishedAt) <= moment) break;
    const { previous } = await fetchJson(new URL(`${version}/catalogue.json`, versions));
    if (!previous) throw new Error(`no version was published by ${moment.toISOString()}; the first is of ${publishedAt}`);
    version = previous;
  }
  return version;
}

export class Console {
  // `assets` is the folder of this file, `versions` that of all versions of the site.
  static async open(assets, versions) {
    const database = new AsyncDuckDB(new VoidLogger(), new Worker(new URL("duckdb-browser-eh.worker.js", assets)));
    const [engine] = await Promise.all([
      unpack(new URL("duckdb-eh.wasm.gz", assets)).then((response) => response.blob()),
      unpack(new URL("parquet_wasm_bg.wasm.gz", assets)).then((response) => initParquet({ module_or_path: response })),
    ]);
    const address = URL.createObjectURL(engine);
    await database.instantiate(address);
    URL.revokeObjectURL(address);
    const connection = await database.connect();
    await connection.query(SETTINGS);
    return new Console(connection, versions);
  }

  constructor(connection, versions) {
    this.connection = connection;
    this.versions = versions;
    this.loaded = new Set();
  }

  // Run a query as of a moment, or of now. Return the version, the names of the columns, and the first MAX_ROWS rows as text.
  async run(sql, moment, report) {
    const version = await findVersion(this.versions, moment);
    const schema = `v_${version}`;
    await this.connection.query(`create schema if not exists ${schema}`);
    const catalogue = await fetchJson(new URL(`${version}/catalogue.json`, this.versions));
    const words = new Set(sql.toLowerCase().match(/\w+/g) ?? []);
    for (const name of Object.keys(catalogue.marts).filter((mart) => words.has(mart))) {
      await this.load(version, schema, name, catalogue.marts[name].files.parquet, report);
    }
    await this.connection.query(`use ${schema}`);
    report("running");
    const statement = sql.trim().replace(/;\s*$/, "");
    const result = await this.connection.query(`select columns(*)::varchar from (\n${statement}\n) limit ${MAX_ROWS + 1}`);
    const names = result.schema.fields.map((field) => field.name);
    const rows = result.toArray().map((row) => names.map((_, index) => result.getChildAt(index) && row[names[index]]));
    return { version, names, rows: rows.slice(0, MAX_ROWS), more: rows.length > MAX_ROWS };
  }

  async load(version, schema, name, file, report) {
    const key = `${schema}.${name}`;
    if (this.loaded.has(key)) return;
    report(`loading ${name}, ${(file.bytes / 1e6).toLocaleString("en", { maximumFractionDigits: 1 })} MB`);
    const bytes = new Uint8Array(await (await fetchOk(new URL(`${version}/${file.path}`, this.versions))).arrayBuffer());
    await this.connection.insertArrowFromIPCStream(readParquet(bytes).intoIPCStream(), { name, schema, create: true });
    this.loaded.add(key);
  }
}
