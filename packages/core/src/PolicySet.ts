/**
 * Which policy a key gets: the entries of a layer or a document, and the rule by which they are merged. Pure.
 *
 * @internal
 */
import type { Issue } from "./Issue.ts"
import { show } from "./Issue.ts"
import * as Policy from "./Policy.ts"
import type { Steps } from "./Steps.ts"
import { runNow } from "./Steps.ts"

export interface PolicySet {
  readonly exact: ReadonlyMap<string, Policy.Sections>
  /** each ends with a dot */
  readonly prefixes: ReadonlyMap<string, Policy.Sections>
  readonly any: Policy.Sections | undefined
  readonly defaults: Policy.Sections
}

const patternSyntax = /^(?:\*|[A-Za-z0-9_./:-]{1,126}\.\*|[A-Za-z0-9_./:-]{1,128})$/

/** A key, `prefix.*` or `*`. */
export const isPattern = (text: string): boolean => patternSyntax.test(text)

/** Names of entries. A key that is named exactly is accepted even if it looks like an id. */
export const checkPattern = (pattern: string, path: ReadonlyArray<PropertyKey>, issues: Array<Issue>): void => {
  if (isPattern(pattern)) return
  issues.push({ path, message: `must be a key, "prefix.*" or "*", got ${show(pattern)}` })
}

/** What a record holds under a name. Names come from documents, and every object has a `constructor`. */
export const own = <A>(record: Readonly<Record<string, A>> | undefined, name: string): A | undefined =>
  record !== undefined && Object.hasOwn(record, name) ? record[name] : undefined

const isPrefix = (pattern: string): boolean => pattern.endsWith(".*")

const prefixOf = (pattern: string): string => pattern.slice(0, -1)

export const making = function*(
  entries: Readonly<Record<string, Policy.Sections>>,
  defaults: Policy.Sections = {}
): Steps<PolicySet> {
  const exact = new Map<string, Policy.Sections>()
  const prefixes = new Map<string, Policy.Sections>()
  for (const pattern of Object.keys(entries)) {
    yield
    const sections = entries[pattern]!
    if (isPrefix(pattern)) prefixes.set(prefixOf(pattern), sections)
    else if (pattern !== "*") exact.set(pattern, sections)
  }
  return { exact, prefixes, any: entries["*"], defaults }
}

export const make = (
  entries: Readonly<Record<string, Policy.Sections>>,
  defaults: Policy.Sections = {}
): PolicySet => runNow(making(entries, defaults))

/** The same with another entry for one key, or without one. */
export const withExact = (set: PolicySet, key: string, sections: Policy.Sections | undefined): PolicySet => {
  const exact = new Map(set.exact)
  if (sections === undefined) exact.delete(key)
  else exact.set(key, sections)
  return { ...set, exact }
}

type Entry = readonly [pattern: string, sections: Policy.Sections]

const longestPrefix = ({ prefixes }: PolicySet, key: string): Entry | undefined => {
  // no prefix begins with a dot
  for (let dot = key.lastIndexOf("."); dot > 0; dot = key.lastIndexOf(".", dot - 1)) {
    const prefix = key.slice(0, dot + 1)
    const sections = prefixes.get(prefix)
    if (sections !== undefined) return [`${prefix}*`, sections]
  }
  return undefined
}

/** The entries that match a key, from general to specific. */
export const matching = (set: PolicySet, key: string): ReadonlyArray<Entry> => {
  const exact = set.exact.get(key)
  const any: Entry | undefined = set.any && ["*", set.any]
  const named: Entry | undefined = exact && [key, exact]
  return [any, longestPrefix(set, key), named].filter((entry) => entry !== undefined)
}

/** What a key gets, `undefined` when no entry matches it: `defaults` alone do not make a key known. */
export const resolve = (set: PolicySet, key: string): Policy.Sections | undefined => {
  const matches = matching(set, key)
  return matches.length === 0
    ? undefined
    : matches.reduce((base, [, sections]) => Policy.merge(base, sections), set.defaults)
}

/** Every entry as it was written. */
export const written = (set: PolicySet): ReadonlyArray<readonly [pattern: string, sections: Policy.Sections]> => [
  ...(set.any === undefined ? [] : [["*", set.any] as const]),
  ...Array.from(set.prefixes, ([prefix, sections]) => [`${prefix}*`, sections] as const),
  ...set.exact
]

/** What keys get that no entry matches, where the layer gives them its defaults. */
export const forMissing = (set: PolicySet): Policy.Sections => Policy.merge(Policy.defaults.sections, set.defaults)

/** The names of the entries. */
export const patterns = (set: PolicySet): ReadonlyArray<string> => [
  ...(set.any === undefined ? [] : ["*"]),
  ...Array.from(set.prefixes.keys(), (prefix) => `${prefix}*`),
  ...set.exact.keys()
]

/** What a pattern stands for where policies are looked up: itself (no key is a star), or some key that it covers. */
export const keyOf = (pattern: string): string => isPrefix(pattern) ? prefixOf(pattern) : pattern

/** An entry as it ends up for a key that matches it. */
export const merged = (set: PolicySet, pattern: string): Policy.Sections => resolve(set, keyOf(pattern))!

/** Whether a pattern covers a key. */
export const covers = (pattern: string, key: string): boolean =>
  pattern === "*" || pattern === key || (isPrefix(pattern) && key.startsWith(prefixOf(pattern)))
