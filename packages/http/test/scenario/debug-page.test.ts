/**
 * `DebugRoutes` as an operator meets it: a real browser, real calls to a real server, and pages that hostile text tried to
 * take over.
 */
import { assert, describe, it } from "@effect/vitest"
import { Hedge, Observer, PolicyLayer, Rego } from "@rego/core"
import { Effect, Layer } from "effect"
import { HttpClient } from "effect/http"
import { mkdirSync } from "node:fs"
import { join } from "node:path"
import type { BrowserContext, Page } from "playwright-core"
import { isMissing, open } from "../browser.ts"
import { address, fill, hostile, server } from "../debugSupport.ts"
import { clients, quietly, serve } from "../support.ts"

const pictures = join(import.meta.dirname, "../../../../.test-results/debug-page")

/** A page that writes down what it asks for, what it complains about, and what asks the user. */
const watched = (context: BrowserContext) =>
  Effect.promise(async () => {
    const seen = { requests: [] as Array<string>, complaints: [] as Array<string> }
    // every request of the browser goes through here, also those that a policy of the page would refuse later
    await context.route("**/*", (route) => {
      seen.requests.push(route.request().url())
      return route.continue()
    })
    const page = await context.newPage()
    page.on("console", (message) => seen.complaints.push(message.text()))
    page.on("pageerror", (error) => seen.complaints.push(String(error)))
    page.on("dialog", (dialog) => {
      seen.complaints.push(`dialog ${dialog.message()}`)
      void dialog.dismiss()
    })
    return { page, seen }
  })

const shoot = (page: Page, name: string) =>
  Effect.promise(async () => {
    mkdirSync(pictures, { recursive: true })
    await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true })
  })

const strangers = (requests: ReadonlyArray<string>, url: string) =>
  requests.filter((request) => new URL(request).origin !== new URL(url).origin)

/** The first request hangs until somebody cancels it; the hedge is answered. One in three others fails. */
const dependency = serve((request, response, arrival) => {
  if (request.url === "/price" && arrival === 0) return
  response.writeHead(request.url === "/stock" ? 503 : 200).end("42")
})

const calls = (url: string) =>
  Effect.gen(function*() {
    const client = HttpClient.filterStatusOk(yield* HttpClient.HttpClient)
    const get = (path: string, key: string) => Effect.exit(client.get(`${url}${path}`).pipe(Rego.resilient(key)))
    yield* get("/price", "prices.Get")
    yield* get("/stock", "stock.Get")
    yield* get("/user", "users.Get")
    yield* Observer.flush
  })

const Policies = quietly(PolicyLayer.make({
  policies: {
    "*": { retry: { maxAttempts: 3 }, timeout: { overall: "10 seconds" }, idempotent: true },
    "prices.*": { hedge: { trigger: Hedge.after("50 millis") } }
  }
}))

const missing = isMissing("debug-page.test.ts")

describe.skipIf(missing)("the debug page in a browser", () => {
  it.live("lists the calls, opens a waterfall, and shows the hedge race", () => {
    const recent = Observer.recent()
    const App = server({ recent }).pipe(Layer.provideMerge(Layer.mergeAll(Policies, Observer.layer([recent]))))
    return Effect.gen(function*() {
      const { url: dependencyUrl } = yield* dependency
      yield* calls(dependencyUrl).pipe(Effect.provide(clients.fetch))
      const url = yield* address
      const { page, seen } = yield* watched(yield* open)

      // with a slash at its end, as some would type it: its links lead on all the same
      yield* Effect.promise(() => page.goto(`${url}/debug/rego/`))
      const links = page.locator("tbody a")
      assert.sameMembers(yield* Effect.promise(() => links.allTextContents()), ["users.Get", "stock.Get", "prices.Get"])
      yield* shoot(page, "list")

      // the filter is a form, and works without script
      yield* Effect.promise(async () => {
        await page.getByLabel("key contains").fill("prices")
        await page.getByRole("button", { name: "Show" }).click()
      })
      assert.deepStrictEqual(yield* Effect.promise(() => links.allTextContents()), ["prices.Get"])

      yield* Effect.promise(() => links.first().click())
      const picture = page.locator("svg.rego")
      assert.strictEqual(yield* Effect.promise(() => picture.count()), 1)
      // to scale: the winner began later, and the loser ran until the winner had answered
      const [loser, winner] = yield* Effect.promise(() =>
        Promise.all([picture.locator("rect.lost").boundingBox(), picture.locator("rect.success").boundingBox()])
      )
      assert.isAbove(winner!.x, loser!.x)
      assert.isAtMost(winner!.x + winner!.width, loser!.x + loser!.width + 1)
      const text = yield* Effect.promise(() => picture.textContent())
      assert.include(text, "(interrupted_loser)")
      assert.include(text, "Success (won)")
      // the style sheets were allowed: a picture without them is black
      const colour = yield* Effect.promise(() =>
        page.evaluate("getComputedStyle(document.querySelector('svg.rego rect.success')).fill")
      )
      assert.strictEqual(colour, "rgb(31, 122, 77)")
      yield* shoot(page, "waterfall")
      yield* Effect.promise(() => page.emulateMedia({ colorScheme: "dark" }))
      yield* shoot(page, "waterfall-dark")

      yield* Effect.promise(() => page.getByRole("link", { name: "Recent calls" }).click())
      assert.strictEqual(new URL(page.url()).pathname, "/debug/rego")
      yield* shoot(page, "list-dark")

      assert.isAtLeast(seen.requests.length, 4)
      assert.deepStrictEqual(strangers(seen.requests, url), [])
      assert.deepStrictEqual(seen.complaints, [])
    }).pipe(Effect.provide(App), Effect.scoped)
  }, 60_000)

  it.live("runs nothing of what is written in keys, errors, reasons, revisions and the address", () => {
    const recent = Observer.recent()
    return Effect.gen(function*() {
      yield* fill(recent)
      const url = yield* address
      const { page, seen } = yield* watched(yield* open)
      const attack = encodeURIComponent(hostile)
      const visit = (path: string) =>
        Effect.promise(async () => {
          await page.goto(`${url}/debug/rego${path}`)
          assert.notStrictEqual(await page.title(), "owned", path)
          // nothing that was written became an element
          assert.strictEqual(await page.locator("script, img, iframe, object, embed, foreignObject").count(), 0, path)
        })
      for (const path of ["", `?key=${attack}`, `?slower=${attack}`, `?result=${attack}`, `?order=${attack}`]) {
        yield* visit(path)
      }
      const [call] = yield* recent.calls({ result: "defect" })
      yield* visit(`/${call!.id}`)
      assert.include(yield* Effect.promise(() => page.locator("h1").textContent()), "<script>document.title=")
      yield* shoot(page, "hostile")
      yield* visit(`/${call!.id}.svg`)
      // a browser that reads it as XML is strict: one wrong character would be an error in its place
      assert.strictEqual(yield* Effect.promise(() => page.evaluate("document.documentElement.nodeName")), "svg")
      yield* visit("/%3Cscript%3Ealert(1)%3C%2Fscript%3E")

      assert.deepStrictEqual(strangers(seen.requests, url), [])
      // the browser itself says in its console that a page was not found, or its filter wrong
      assert.deepStrictEqual(seen.complaints.filter((it) => !/status of 40[04]/.test(it)), [])
    }).pipe(Effect.provide(server({ recent })), Effect.scoped)
  }, 60_000)

  it.live("would notice a script and a request to elsewhere", () =>
    Effect.gen(function*() {
      const { url } = yield* serve((_, response) => {
        response.writeHead(200, { "content-type": "text/html" })
        response.end("<title>x</title><script>document.title='owned'</script><img src='http://elsewhere.invalid/x'>")
      })
      const { page, seen } = yield* watched(yield* open)
      yield* Effect.promise(() => page.goto(url))
      assert.strictEqual(yield* Effect.promise(() => page.title()), "owned")
      assert.deepStrictEqual(strangers(seen.requests, url), ["http://elsewhere.invalid/x"])
    }).pipe(Effect.scoped), 60_000)
})
