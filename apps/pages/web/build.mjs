// Builds the pages: one script and one style sheet each, into ../dist, which is committed. The same sources give the same
// bytes, so that `make pages` twice changes nothing.
import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "..", "dist");
const pages = ["start", "calculator", "ordering"];

// sources are what the output depends on; the Go test that finds stale output reads them in the same order.
async function sources(dir) {
  const found = [];
  for (const entry of await readdir(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) {
      if (entry.name !== "node_modules") found.push(...(await sources(path)));
    } else {
      found.push(path);
    }
  }
  return found.sort();
}

await rm(out, { recursive: true, force: true });
await mkdir(join(out, "assets"), { recursive: true });
for (const page of pages) {
  await build({
    absWorkingDir: here,
    entryPoints: { [page]: `src/${page}/main.tsx` },
    outdir: join(out, "assets"),
    bundle: true,
    format: "esm",
    target: ["es2022"],
    jsx: "automatic",
    jsxImportSource: "preact",
    minify: true,
    legalComments: "none",
    banner: { js: "/* Preact, MIT, Copyright (c) 2015-present Jason Miller */" },
    logLevel: "warning",
  });
  await cp(join(here, "src", page, "index.html"), join(out, `${page}.html`));
}
await cp(join(here, "src", "icon.svg"), join(out, "assets", "icon.svg"));

const hash = createHash("sha256");
for (const path of await sources(here)) {
  hash.update(`${relative(here, path).replaceAll("\\", "/")}\0`);
  hash.update(await readFile(path));
  hash.update("\0");
}
await writeFile(join(out, "sources.sha256"), `${hash.digest("hex")}\n`);
