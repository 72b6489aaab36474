/**
 * The frame around each page.
 *
 * @internal
 */
import { dirname, relative } from "node:path/posix"
import type { Group } from "./places.ts"

const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", "\"": "&quot;" }

const escape = (text: string): string => text.replaceAll(/[&<>"]/g, (sign) => entities[sign]!)

const titleOf = (body: string): string =>
  (/<h1[^>]*>(?<title>[^]*?)<\/h1>/.exec(body)?.groups?.["title"] ?? "Rego").replaceAll(/<[^>]+>/g, "")

export interface Frame {
  readonly url: string
  readonly navigation: ReadonlyArray<Group>
  readonly body: string
}

const menu = (groups: ReadonlyArray<Group>, to: (url: string) => string, current: string): string =>
  groups.map(({ entries, title }) => {
    const items = entries.map((entry) =>
      `<li><a href="${to(entry.url)}"${entry.url === current ? " aria-current=\"page\"" : ""}>${
        escape(entry.title)
      }</a></li>`
    )
    return `<h2>${escape(title)}</h2>\n<ul>${items.join("")}</ul>`
  }).join("\n")

export const frame = ({ body, navigation, url }: Frame): string => {
  const to = (target: string): string => relative(dirname(url), target)
  const home = to("index.html")
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${titleOf(body)} · rego for Effect</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="${to("assets/style.css")}">
<script type="module" src="${to("assets/search.js")}"></script>
</head>
<body data-root="${home.slice(0, -"index.html".length)}">
<header>
<a class="home" href="${home}">rego</a>
<form role="search"><input type="search" id="search" placeholder="Search" aria-label="Search" autocomplete="off">
<ol id="results" hidden></ol></form>
<a href="${to("playground.html")}">Playground</a>
<a href="${to("api/index.html")}">API</a>
</header>
<nav aria-label="Documents">
${menu(navigation, to, url)}
</nav>
<main>
${body}
</main>
</body>
</html>
`
}
