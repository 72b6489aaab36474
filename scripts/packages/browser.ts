import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { run } from "../lib/command.ts"

const TIMEOUT_MILLIS = 60_000

const names = ["chromium", "chromium-browser", "google-chrome"]

/** The command of a Chromium of this machine. */
export const findBrowser = async (): Promise<string | undefined> => {
  for (const name of names) if ((await run(name, ["--version"])).ok) return name
  return undefined
}

// the code stands in the page itself: a module of its own may not be loaded from a file
const page = (code: string): string =>
  `<!doctype html><meta charset="utf-8"><title>waiting</title><script type="module">
addEventListener("error", (event) => { document.title = "error: " + event.message })
addEventListener("unhandledrejection", (event) => { document.title = "error: " + event.reason })
</script><script type="module">${code.replaceAll("</script", "<\\/script")}</script>`

/** Loads a page with the code, and answers with the title that the code gave it. */
export const titleIn = async (browser: string, code: string): Promise<string> => {
  const folder = mkdtempSync(join(tmpdir(), "rego-browser-"))
  try {
    const file = join(folder, "page.html")
    writeFileSync(file, page(code))
    const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000", "--dump-dom"]
    const { output } = await run(browser, [...flags, `--user-data-dir=${folder}`, `file://${file}`], {
      timeoutMillis: TIMEOUT_MILLIS
    })
    return /<title>(.*?)<\/title>/.exec(output)?.[1]?.replaceAll("&quot;", `"`) ?? `no page\n${output}`
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  }
}
