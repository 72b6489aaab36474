/**
 * A real browser: Debian's Chromium, without a window. What uses it is skipped, loudly, where there is none, and fails
 * instead with CI=true.
 */
import { Effect } from "effect"
import type { Scope } from "effect"
import { spawnSync } from "node:child_process"
import type { BrowserContext } from "playwright-core"
import { chromium } from "playwright-core"

const given = process.env["REGO_CHROMIUM"]

/** Debian calls it by the first name; others will do. */
const names = given === undefined ? ["chromium", "chromium-browser", "google-chrome"] : [given]

const pathOf = (command: string): string | undefined => {
  const found = spawnSync("sh", ["-c", "command -v \"$1\"", "sh", command], { encoding: "utf8" })
  return found.status === 0 ? found.stdout.trim() : undefined
}

const executable = (): string | undefined => names.map(pathOf).find((path) => path !== undefined)

/** Whether tests that need a browser are to be skipped. */
export const isMissing = (test: string): boolean => {
  if (executable() !== undefined || process.env["CI"] === "true") return false
  console.warn(
    `\n*** ${test}: SKIPPED. There is no ${
      names.join(", no ")
    } on PATH, so no page was looked at with a real browser.` +
      "\n*** Install it (Debian: apt-get install chromium). With CI=true these tests fail instead.\n"
  )
  return true
}

/** Like a window of its own without history; gone when the scope closes. */
export const open: Effect.Effect<BrowserContext, never, Scope.Scope> = Effect.gen(function*() {
  const browser = yield* Effect.acquireRelease(
    Effect.promise(() =>
      // in a container there is neither a second user for the sandbox nor room in /dev/shm
      chromium.launch({
        executablePath: executable() ?? names[0]!,
        args: ["--no-sandbox", "--disable-dev-shm-usage"]
      })
    ),
    (browser) => Effect.promise(() => browser.close())
  )
  return yield* Effect.promise(() => browser.newContext({ viewport: { width: 1280, height: 900 } }))
})
