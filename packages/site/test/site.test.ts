import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import MiniSearch from "minisearch"
import { globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { Page } from "playwright-core"
import { afterAll, beforeAll } from "vitest"
import { run } from "../../../scripts/lib/command.ts"
import { root } from "../../../scripts/lib/workspace.ts"
import * as Browser from "../../http/test/browser.ts"
import { brokenIn } from "../src/checkSite.ts"
import { type Entry, options } from "../src/search.ts"
import { serve } from "../src/serve.ts"

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

  it("leads from each module to the page that explains it", () => {
    const modules = globSync("api/*/*.html", { cwd: folder })
    assert.isAbove(modules.length, 40)
    for (const file of modules) assert.match(read(file), /how it is used: <a href="..\/..\/[\w-]+\.html"/, file)
  })

  it.skipIf(Browser.isMissing("packages/site/test/site.test.ts"))(
    "is searched, and simulates a policy, in a browser",
    () =>
      Effect.runPromise(Effect.scoped(Effect.gen(function*() {
        const { url } = yield* Effect.acquireRelease(
          Effect.promise(() => serve(folder)),
          ({ close }) => Effect.promise(close)
        )
        const context = yield* Browser.open
        const page = yield* Effect.promise(() => context.newPage())
        const errors: Array<string> = []
        page.on("pageerror", (error) => errors.push(error.message))
        yield* Effect.promise(() => search(page, url))
        yield* Effect.promise(() => simulate(page, url))
        assert.deepStrictEqual(errors, [])
      }))),
    120_000
  )
})

const search = async (page: Page, url: string): Promise<void> => {
  await page.goto(`${url}decisions/index.html`)
  await page.fill("#search", "hedging")
  await page.locator("#results a").first().click()
  await page.waitForURL(/\/hedging\.html$/)
  assert.strictEqual(await page.locator("h1").innerText(), "Hedging")
}

const figure = async (page: Page, metric: string): Promise<ReadonlyArray<number>> => {
  const cells = await page.locator("#figures tr", { has: page.getByText(metric, { exact: true }) }).locator("td")
    .allInnerTexts()
  return cells.slice(1).map(Number.parseFloat)
}

const simulate = async (page: Page, url: string): Promise<void> => {
  await page.goto(`${url}playground.html`)
  await page.selectOption("#scenario", "long-tail")
  await page.selectOption("#preset", "a hedge at the 95th percentile")
  await page.click("#run")
  await page.waitForSelector("#figures", { timeout: 100_000 })
  const [before = 0, after = 0] = await figure(page, "p99")
  assert.isBelow(after, before * 0.8)
  const [alone = 0, hedged = 0] = await figure(page, "attemptsPerCall")
  assert.strictEqual(alone, 1)
  assert.isTrue(hedged > 1.02 && hedged < 1.1, `attempts per call: ${hedged}`)
  assert.strictEqual(await page.locator("#simulation svg").count(), 2)

  // what is wrong is said, and nothing of before is left to be taken for its result
  await page.fill("#policy", "{ \"retry\": { \"maxAtempts\": 2 } }")
  await page.click("#run")
  await page.getByText("maxAtempts").last().waitFor()
  await page.locator("#status", { hasText: "maxAtempts" }).waitFor()
  assert.strictEqual(await page.locator("#figures").count(), 0)
}

describe("a folder that is served", () => {
  it("goes on after an address that nobody can read", async () => {
    const site = mkdtempSync(join(tmpdir(), "rego-site-"))
    writeFileSync(join(site, "index.html"), "home")
    const { close, url } = await serve(site)
    const answers = []
    for (const path of ["%", "gone.html", ".."]) answers.push(await fetch(`${url}${path}`))
    assert.deepStrictEqual(answers.map(({ status }) => status), [404, 404, 200])
    assert.strictEqual(await answers[2]!.text(), "home")
    await close()
    rmSync(site, { recursive: true })
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
