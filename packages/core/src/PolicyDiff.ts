/**
 * What is different between two sets of policies, field by field. Pure.
 *
 * @internal
 */
import { Duration, Option } from "effect"
import { formatPath } from "./Issue.ts"
import type { Steps } from "./Steps.ts"
import { runNow } from "./Steps.ts"

export interface Difference {
  readonly path: ReadonlyArray<PropertyKey>
  /** `undefined` where there was no such field; durations are text, what has no JSON is named */
  readonly before: unknown
  readonly after: unknown
}

/** Every field with its value, by the text of its path. */
export type Fields = ReadonlyMap<string, readonly [path: ReadonlyArray<PropertyKey>, value: unknown]>

const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/** What stands for a value in a report. */
const shown = (value: unknown): unknown => {
  if (Duration.isDuration(value)) return Duration.format(value)
  if (typeof value === "function") return "a function"
  return typeof value === "object" && value !== null && "toJSON" in value && typeof value.toJSON === "function"
    ? value.toJSON()
    : value
}

/** The values in a policy that are compared whole: they have no fields of their own. */
const isLeaf = (value: unknown): boolean =>
  typeof value !== "object" || value === null || Duration.isDuration(value) || !(Array.isArray(value) || isPlain(value))

const empty = "{}"

const collect = (
  value: unknown,
  path: ReadonlyArray<PropertyKey>,
  found: Map<string, readonly [ReadonlyArray<PropertyKey>, unknown]>
): void => {
  if (value === undefined) return
  if (Option.isOption(value)) return collect(Option.getOrUndefined(value), path, found)
  if (isLeaf(value)) {
    found.set(formatPath(path), [path, value])
    return
  }
  const fields = Array.isArray(value) ? Array.from(value.entries()) : Object.entries(value as object)
  // An entry without a field is one all the same: it makes its keys known.
  if (fields.every(([, field]) => field === undefined)) found.set(formatPath(path), [path, empty])
  for (const [name, field] of fields) collect(field, [...path, name], found)
}

export const fieldsOf = (value: unknown): Fields => {
  const found = new Map<string, readonly [ReadonlyArray<PropertyKey>, unknown]>()
  collect(value, [], found)
  return found
}

const same = (a: unknown, b: unknown): boolean =>
  Object.is(a, b) || (Duration.isDuration(a) && Duration.isDuration(b) && Duration.equals(a, b)) ||
  (typeof a === "object" && typeof b === "object" && shown(a) === shown(b))

/** What has no fields on one side and some on the other is told by these. */
const hasInside = (name: string, fields: Fields): boolean =>
  Array.from(fields.keys()).some((other) => other !== name && other.startsWith(name))

const isEmpty = (value: unknown): boolean => value === empty

const comparing = function*(before: Fields, after: Fields): Steps<ReadonlyArray<Difference>> {
  const found: Array<Difference> = []
  for (const [name, [path, value]] of before) {
    yield
    const next = after.get(name)?.[1]
    if (same(value, next) || (isEmpty(value) && hasInside(name, after))) continue
    found.push({ path, before: shown(value), after: shown(next) })
  }
  for (const [name, [path, value]] of after) {
    yield
    if (before.has(name) || (isEmpty(value) && hasInside(name, before))) continue
    found.push({ path, before: undefined, after: shown(value) })
  }
  return found
}

export const between = (before: Fields, after: Fields): ReadonlyArray<Difference> => runNow(comparing(before, after))

type Sections = Readonly<Record<string, object>>

/** The fields of records of records, with a step for each of these. */
const collecting = function*(sections: Sections): Steps<Fields> {
  const found = new Map<string, readonly [ReadonlyArray<PropertyKey>, unknown]>()
  for (const [section, fields] of Object.entries(sections)) {
    const names = Object.keys(fields)
    if (names.length === 0) collect(fields, [section], found)
    for (const name of names) {
      yield
      collect((fields as Readonly<Record<string, unknown>>)[name], [section, name], found)
    }
  }
  return found
}

/** The same as `between`, for all that a provider has. */
export const differing = function*(before: Sections, after: Sections): Steps<ReadonlyArray<Difference>> {
  return yield* comparing(yield* collecting(before), yield* collecting(after))
}
