/**
 * How the index of the search is made and read: the same on both sides.
 *
 * @internal
 */
import type { Options } from "minisearch"

export interface Entry {
  /** the address of the section */
  readonly id: string
  readonly page: string
  readonly title: string
  readonly text: string
}

export const options: Options<Entry> = {
  fields: ["title", "page", "text"],
  storeFields: ["title", "page"],
  searchOptions: {
    boost: { title: 4, page: 2 },
    prefix: true,
    fuzzy: 0.15,
    combineWith: "AND",
    // a page before its sections, what explains before what lists
    boostDocument: (id: string) => (id.includes("#") ? 1 : 3) * (id.startsWith("api/") ? 0.5 : 1)
  }
}

/** How many results are shown. */
export const limit = 12
