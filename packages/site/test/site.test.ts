import { assert, describe, it } from "@effect/vitest"
import MiniSearch from "minisearch"
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll } from "vitest"
import { run } from "../../../scripts/lib/command.ts"
import { root } from "../../../scripts/lib/workspace.ts"
import { brokenIn } from "../src/checkSite.ts"
import { type Entry, options } from "../src/search.ts"

// inside of the repository: Eleventy writes nowhere else
const folder = join(root, ".site-test")
const read = (path: string): string => readFileSync(join(folder, path), "utf8")

describe("the site", () => {
  beforeAll(async () => {
    const { ok, output } = await run("npm", ["run", "docs", "--silent", "--", folder])
    assert.isTrue(ok, output)
  }, 120_000)
  afterAll(() => rmSync(folder, { recursive: true, force: true }))

  it("has a page for each document, and each is in the navigation or linked from one that is", () => {
    for (const file of globSync("docs/*.md", { cwd: root })) {
      const page = file.slice("docs/".length).replace("README", "index").replace(/md$/, "html")
      assert.match(read(page), /<h1 id=/, file)
      assert.isTrue(page === "index.html" || read("index.html").includes(`href="${page}"`), file)
    }
  })

  it("has no link that leads nowhere", () => {
    assert.deepStrictEqual(brokenIn(folder), [])
  })

  it("finds sections by their words, pages before sections", () => {
    const index = MiniSearch.loadJSON<Entry>(read("assets/search.json"), options)
    assert.strictEqual(index.search("hedging")[0]?.id, "hedging.html")
    assert.include(index.search("kill switch").map(({ id }) => id), "live-policies.html#kill-switches")
    assert.deepStrictEqual(index.search("zzzzzz"), [])
  })

  it("shows the comments of every public member of a module, and none that is internal", () => {
    const page = read("api/core/Backoff.html")
    for (const name of ["exponential", "decorrelated", "constant", "none", "toSchedule", "isBackoff"]) {
      assert.include(page, `<h3 id="${name.toLowerCase()}">${name}</h3>`)
    }
    assert.notInclude(page, "delayMillis")
    assert.include(read("api/index.html"), "@rego/control-plane/FileSource")
  })
})

describe("a broken link", () => {
  it("is found: a page that is not there, and a heading that is not there", () => {
    const site = mkdtempSync(join(tmpdir(), "rego-site-"))
    mkdirSync(join(site, "a"))
    writeFileSync(join(site, "a", "x.html"), "<a href=\"../y.html#here\"></a><a href=\"../y.html#gone\"></a>")
    writeFileSync(
      join(site, "y.html"),
      "<h1 id=\"here\"></h1><a href=\"z.html\"></a><a href=\"https://effect.website\"></a>"
    )
    assert.deepStrictEqual(brokenIn(site).toSorted(), ["a/x.html  ../y.html#gone", "y.html  z.html"])
    rmSync(site, { recursive: true })
  })
})
