/** The tests of a package that keeps to the rules of the house: the rules themselves are tried in core's own. */
import { assert, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { House, Modules } from "./house.ts"
import { apiOf, readModules, storeysShown, violations } from "./house.ts"

interface Manifest {
  readonly dependencies?: object
  readonly peerDependencies: object
  readonly exports: object
}

export interface Package {
  readonly sources: Modules
  readonly manifest: Manifest
  /** modules with an entry of their own in package.json */
  readonly entries: ReadonlyArray<string>
}

export const readPackage = (folder: string): Package => {
  const manifest: Manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"))
  const entries = Object.keys(manifest.exports).filter((entry) => entry !== "." && entry !== "./package.json")
  return { sources: readModules(join(folder, "src")), manifest, entries: entries.map((entry) => entry.slice(2)) }
}

/** `breaches`: modules that break three rules, to see that this house notices them. */
export const keepsToItsHouse = ({ sources }: Package, house: House, breaches: Modules): void => {
  it("every module keeps to its storey, to the packages it may load and to the fiber's clock", () => {
    assert.deepStrictEqual(violations(house, sources), [])
  })

  it("every module of the table exists, and stands in it once", () => {
    assert.sameMembers(house.storeys.flat(), Object.keys(sources))
  })

  it("notices an import upwards, a package that is not for the module, and a clock of its own", () => {
    assert.strictEqual(violations(house, breaches).length, 3)
  })
}

/** `nth`: which of the tables in docs/architecture.md, in which the index is left out. */
export const isShown = ({ storeys }: House, nth: number): void => {
  it("the page shows this table", () => {
    const modules = storeys.map((names) => names.filter((name) => name !== "index"))
    assert.deepStrictEqual<unknown>(storeysShown()[nth], modules)
  })
}

/** For packages whose index has all that users load. */
export const isWholeInItsIndex = ({ entries, sources }: Package): void => {
  it("every module of the index has an entry of its own in package.json, and no other has one", () => {
    const indexed = [...sources["index"]!.matchAll(/export \* as (\w+) from/g)].map(([, name]) => name!)
    assert.sameMembers([...entries], indexed)
  })
}

/** A name that comes, goes or changes place is a change of the API: it belongs into this list and into the changelog. */
export const hasTheseNames = ({ entries, sources }: Package, names: ReturnType<typeof apiOf>): void => {
  it("has these names", () => {
    assert.deepStrictEqual(apiOf(entries, (name) => sources[name]!), names)
  })
}
