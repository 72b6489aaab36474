/**
 * What the search box looks through: each section of each page, by its heading.
 *
 * @internal
 */
import MiniSearch from "minisearch"
import { type Entry, options } from "./search.ts"

const plain = (html: string): string =>
  html.replaceAll(/<[^>]+>/g, " ").replaceAll(/&(?:amp|lt|gt|quot);/g, " ").replaceAll(/\s+/g, " ").trim()

/** A page is cut at its headings; what stands above the first one belongs to it. */
export const entriesOf = (url: string, body: string): Array<Entry> => {
  const parts = body.split(/(?=<h[1-3] id=")/)
  const page = plain(/<h1[^>]*>([^]*?)<\/h1>/.exec(body)?.[1] ?? url)
  return parts.flatMap((part) => {
    const heading = /^<h(?<level>[1-3]) id="(?<id>[^"]*)"[^>]*>(?<title>[^]*?)<\/h[1-3]>/.exec(part)?.groups
    const text = plain(part.replace(/^<h[1-3][^]*?<\/h[1-3]>/, ""))
    if (heading === undefined && text === "") return []
    const id = heading === undefined || heading["level"] === "1" ? url : `${url}#${heading["id"]}`
    return [{ id, page, title: plain(heading?.["title"] ?? page), text }]
  })
}

export const serialize = (entries: ReadonlyArray<Entry>): string => {
  const index = new MiniSearch<Entry>(options)
  index.addAll(entries)
  return JSON.stringify(index)
}
