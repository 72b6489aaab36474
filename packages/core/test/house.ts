/**
 * The rules of the house, for the packages that keep to them: what a module may load, where time comes from, and what a
 * package exports.
 */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"

export interface House {
  /** at run time a module imports only from lower storeys, or from modules listed before it on its own storey */
  readonly storeys: ReadonlyArray<ReadonlyArray<string>>
  /** whether a module may load a package, or a part of one */
  readonly isAllowed: (name: string, from: string) => boolean
}

export type Modules = Readonly<Record<string, string>>

/** The modules of a folder by their names. */
export const readModules = (directory: string): Modules =>
  Object.fromEntries(
    readdirSync(directory, { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts"))
      .map((file) => [file.slice(0, -".ts".length), readFileSync(join(directory, file), "utf8")])
  )

// -----------------------------------------------------------------------------
// what a module loads and uses
// -----------------------------------------------------------------------------

/** Time and randomness come from the fiber's `Clock` and `Random`. */
const ambient =
  /\bDate\s*\.\s*now\b|\bnew\s+Date\b|\bperformance\s*\.\s*now\b|\bMath\s*\.\s*random\b|\bhrtime\b|\brandomUUID\b/g

export const withoutComments = (source: string): string =>
  source.replaceAll(
    /("(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)|\/\*[\s\S]*?\*\/|\/\/[^\n]*/g,
    (_, text?: string) => text ?? ""
  )

const statement = /\b(?:import|export)\s+(?<type>type\s+)?(?<names>[^"';()=]*?)\s*from\s*"(?<from>[^"]+)"/g
const bare = /\bimport\s*\(?\s*"(?<from>[^"]+)"/g

const isTypeOnly = (names: string): boolean => {
  const listed = /^\{(?<list>[^}]*)\}$/.exec(names.trim())?.groups?.["list"]?.split(",").map((name) => name.trim())
  const named = listed?.filter((name) => name !== "") ?? []
  return named.length > 0 && named.every((name) => name.startsWith("type "))
}

/** What a module loads when it runs. */
export const imports = (code: string): ReadonlyArray<string> => [
  ...[...code.matchAll(statement)]
    .filter(({ groups }) => groups?.["type"] === undefined && !isTypeOnly(groups?.["names"] ?? ""))
    .map(({ groups }) => groups?.["from"] ?? ""),
  ...[...code.matchAll(bare)].map(({ groups }) => groups?.["from"] ?? "")
]

/** The tables of storeys that docs/architecture.md shows, in their order: core, http, grpc. */
export const storeysShown = (): ReadonlyArray<House["storeys"]> => {
  const page = readFileSync(join(import.meta.dirname, "../../../docs/architecture.md"), "utf8")
  const tables: Array<Array<ReadonlyArray<string>>> = []
  for (const [row, storey] of page.matchAll(/^\| (\d) \| [^|]* \| `[^|]* \|$/gm)) {
    if (storey === "0") tables.push([])
    tables.at(-1)?.push([...row.matchAll(/`(\w+)`/g)].map(([, name]) => name!))
  }
  return tables
}

type Position = readonly [storey: number, place: number]

const positionsOf = ({ storeys }: House): ReadonlyMap<string, Position> =>
  new Map(storeys.flatMap((modules, storey) => modules.map((name, place) => [name, [storey, place]] as const)))

const violation = (
  house: House,
  positions: ReadonlyMap<string, Position>,
  name: string,
  from: string
): string | undefined => {
  if (!from.startsWith(".")) {
    return house.isAllowed(name, from) ? undefined : `${name} imports ${from}, which is not among the stable ones`
  }
  const target = /^\.\/(?<name>\w+)\.ts$/.exec(from)?.groups?.["name"] ?? from
  const [here, there] = [positions.get(name), positions.get(target)]
  if (here === undefined || there === undefined) return undefined
  const below = there[0] < here[0] || (there[0] === here[0] && there[1] < here[1])
  return below
    ? undefined
    : `${name} (storey ${here[0]}) imports ${target} (storey ${there[0]}), which does not stand before it`
}

/** Every breach of the rules in a set of modules. */
export const violations = (house: House, modules: Modules): ReadonlyArray<string> => {
  const positions = positionsOf(house)
  const found: Array<string> = []
  for (const [name, source] of Object.entries(modules)) {
    const code = withoutComments(source)
    if (!positions.has(name)) found.push(`${name} has no storey`)
    for (const from of imports(code)) {
      const broken = violation(house, positions, name, from)
      if (broken !== undefined) found.push(broken)
    }
    for (const [use] of code.matchAll(ambient)) found.push(`${name} uses ${use}`)
  }
  return found
}

// -----------------------------------------------------------------------------
// what a module exports
// -----------------------------------------------------------------------------

const exported =
  /(?<doc>\/\*\*(?:(?!\*\/)[\s\S])*\*\/\s*)?^export (?<kind>const|class|interface|type|function) (?<name>\w+)/gm

/** `export { Name } from "./Other.ts"`, over as many lines as it takes. */
const handedOn = /^export (?<type>type )?\{(?<names>[^}]*)\}/gm

const namesIn = (list: string): ReadonlyArray<string> =>
  withoutComments(list).split(",").map((name) => name.trim().replace(/^.* as /, "")).filter((name) => name !== "")

export interface Exports {
  readonly values: ReadonlyArray<string>
  readonly internal: ReadonlyArray<string>
  readonly types: ReadonlyArray<string>
}

/** What a module exports, as its source says; what is marked `@internal` is no part of the API. */
export const exportsOf = (source: string): Exports => {
  const [values, internal, types] = [new Set<string>(), new Set<string>(), new Set<string>()]
  for (const { groups } of source.matchAll(exported)) {
    const { doc = "", kind = "", name = "" } = groups ?? {}
    const isType = kind === "interface" || kind === "type"
    if (doc.includes("@internal")) (isType ? new Set<string>() : internal).add(name)
    else (isType ? types : values).add(name)
  }
  for (const { groups } of source.matchAll(handedOn)) {
    for (const name of namesIn(groups?.["names"] ?? "")) (groups?.["type"] === undefined ? values : types).add(name)
  }
  return { values: [...values].toSorted(), internal: [...internal].toSorted(), types: [...types].toSorted() }
}

/** The names of some modules, as the tests write them down: a change of the API is then a line in a diff. */
export const apiOf = (
  names: ReadonlyArray<string>,
  sourceOf: (name: string) => string
): Readonly<Record<string, { readonly values: string; readonly types: string }>> =>
  Object.fromEntries(names.map((name) => {
    const { types, values } = exportsOf(sourceOf(name))
    return [name, { values: values.join(" "), types: types.join(" ") }]
  }))
