/**
 * What is different between two sets of policies, field by field. Pure.
 *
 * @internal
 */
import { Duration, Option } from "effect"
import type { Difference } from "./PolicyProvider.ts"
import type { Steps } from "./Steps.ts"

type Path = ReadonlyArray<PropertyKey>

type Fields = Readonly<Record<string, unknown>>

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

/** What has fields of its own; other values are compared whole. */
const fieldsOf = (value: unknown): Fields | undefined =>
  typeof value === "object" && value !== null && (Array.isArray(value) || isPlain(value)) ? value as Fields : undefined

const fieldOf = (fields: Fields | undefined, name: string): unknown => {
  const value = fields !== undefined && Object.hasOwn(fields, name) ? fields[name] : undefined
  return Option.isOption(value) ? Option.getOrUndefined(value) : value
}

const namesOf = (fields: Fields | undefined): ReadonlyArray<string> =>
  fields === undefined ? [] : Object.keys(fields).filter((name) => fieldOf(fields, name) !== undefined)

const unionOf = (a: ReadonlyArray<string>, b: ReadonlyArray<string>): Iterable<string> =>
  b.length === 0 ? a : a.length === 0 ? b : new Set([...a, ...b])

const same = (a: unknown, b: unknown): boolean =>
  Object.is(a, b) || (typeof a === "object" && typeof b === "object" && shown(a) === shown(b))

/** A part without fields is one all the same: an empty entry makes its keys known. */
const summary = (value: unknown): unknown => fieldsOf(value) === undefined ? shown(value) : "{}"

const compare = (before: unknown, after: unknown, path: Path, found: Array<Difference>): void => {
  if (before === after) return
  const [was, is] = [fieldsOf(before), fieldsOf(after)]
  const [old, now] = [namesOf(was), namesOf(is)]
  for (const name of unionOf(old, now)) compare(fieldOf(was, name), fieldOf(is, name), [...path, name], found)
  if (was !== undefined && is !== undefined) return
  // Where one side has fields they tell what changed, and only a value on the other side has something to add.
  const lost = old.length === 0 ? before : undefined
  const gained = now.length === 0 ? after : undefined
  if (!same(lost, gained)) found.push({ path, before: summary(lost), after: summary(gained) })
}

export const between = (before: unknown, after: unknown): ReadonlyArray<Difference> => {
  const found: Array<Difference> = []
  compare(before, after, [], found)
  return found
}

/** The same for records of records, with a step for each of these. */
export const differing = function*(
  before: Readonly<Record<string, object>>,
  after: Readonly<Record<string, object>>
): Steps<ReadonlyArray<Difference>> {
  const found: Array<Difference> = []
  for (const section of unionOf(Object.keys(before), Object.keys(after))) {
    const [was, is] = [fieldsOf(before[section]), fieldsOf(after[section])]
    for (const name of unionOf(namesOf(was), namesOf(is))) {
      yield
      compare(fieldOf(was, name), fieldOf(is, name), [section, name], found)
    }
  }
  return found
}
