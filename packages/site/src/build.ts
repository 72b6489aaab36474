/**
 * Builds the site into `packages/site/dist`, or into the folder that is named: `npm run docs`.
 *
 * @internal
 */
import { type Config, Eleventy, type MarkdownIt, type Token } from "@11ty/eleventy"
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join, relative, resolve } from "node:path"
import { build as bundle } from "vite"
import { anchorOf } from "../../../scripts/lib/links.ts"
import { root } from "../../../scripts/lib/workspace.ts"
import { frame } from "./layout.ts"
import { hrefFrom, navigation, type Page, pages } from "./places.ts"
import { playgroundPage } from "./playgroundPage.ts"
import * as Reference from "./reference.ts"
import type { Entry } from "./search.ts"
import { entriesOf, serialize } from "./searchIndex.ts"

const packages = ["core", "http", "grpc", "control-plane", "testing"]

const apiPages = (): Array<Page> => {
  const modules = packages.flatMap((name) => Reference.modulesOf(`packages/${name}`))
  const shown = modules.map((module) => ({ url: Reference.urlOf(module), text: Reference.render(module) }))
  return [{ url: "api/index.html", text: Reference.renderIndex(modules) }, ...shown]
    .map((page) => ({ ...page, file: `docs/${page.url.replace(/html$/, "md")}` }))
}

const walk = (tokens: ReadonlyArray<Token>, visit: (token: Token) => void): void => {
  for (const token of tokens) {
    visit(token)
    walk(token.children ?? [], visit)
  }
}

/** Headings get the names that GitHub gives them, twice the same one a number; links lead to pages of the site. */
const amend = (markdown: MarkdownIt, pageAt: (url: string) => Page): void => {
  markdown.core.ruler.push("places", ({ env, tokens }) => {
    const page = pageAt(env.page.url)
    const used = new Map<string, number>()
    tokens.forEach((token, index) => {
      if (token.type !== "heading_open") return
      const anchor = anchorOf(tokens[index + 1]!.content)
      const count = used.get(anchor) ?? 0
      used.set(anchor, count + 1)
      token.attrSet("id", count === 0 ? anchor : `${anchor}-${count}`)
    })
    walk(tokens, (token) => {
      const href = token.type === "link_open" ? token.attrGet("href") : null
      if (href !== null && !page.url.startsWith("api/")) token.attrSet("href", hrefFrom(page.file, href, page.url))
    })
  })
}

const configure = (config: Config, all: ReadonlyArray<Page>, entries: Array<Entry>): object => {
  const byUrl = new Map(all.map((page) => [`/${page.url}`, page]))
  const groups = navigation()
  config.setUseGitIgnore(false)
  for (const page of all) {
    config.addTemplate(`packages/site/pages/${page.url.replace(/html$/, "md")}`, page.text, {
      permalink: `/${page.url}`
    })
  }
  config.amendLibrary("md", (markdown) => amend(markdown, (url) => byUrl.get(url.replace(/\/$/, "/index.html"))!))
  config.addTransform("frame", function(body) {
    const url = this.page.url.replace(/\/$/, "/index.html").slice(1)
    if (!url.startsWith("source/")) entries.push(...entriesOf(url, body))
    return frame({ url, navigation: groups, body })
  })
  return { markdownTemplateEngine: false, templateFormats: ["md"] }
}

const bundleClient = (output: string): Promise<unknown> =>
  bundle({
    configFile: false,
    logLevel: "warn",
    root: join(import.meta.dirname, "client"),
    resolve: { conditions: ["@rego/source", "module", "browser", "production"] },
    build: {
      outDir: join(output, "assets"),
      emptyOutDir: false,
      chunkSizeWarningLimit: 2_000,
      rolldownOptions: {
        input: { search: "search.ts", playground: "playground.ts" },
        output: { entryFileNames: "[name].js", chunkFileNames: "[name]-[hash].js" }
      }
    }
  })

/** Answers with the addresses of the pages. */
export const build = async (folder: string): Promise<ReadonlyArray<string>> => {
  const output = resolve(folder)
  rmSync(output, { recursive: true, force: true })
  mkdirSync(join(output, "assets"), { recursive: true })
  process.chdir(root)
  const all = [...pages(), ...apiPages(), playgroundPage]
  const entries: Array<Entry> = []
  const eleventy = new Eleventy("packages/site/pages", relative(root, output), {
    quietMode: true,
    configPath: false,
    config: (config) => configure(config, all, entries)
  })
  await eleventy.write()
  await bundleClient(output)
  writeFileSync(join(output, "assets", "search.json"), serialize(entries))
  copyFileSync(join(import.meta.dirname, "style.css"), join(output, "assets", "style.css"))
  return all.map(({ url }) => url)
}
