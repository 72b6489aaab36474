/**
 * Which policy a key gets: the entries of a layer or a document, and the rule by which they are merged. Pure.
 *
 * @internal
 */
import type { Issue } from "./Issue.ts"
import { show } from "./Issue.ts"
import * as Policy from "./Policy.ts"

export interface PolicySet {
  readonly exact: ReadonlyMap<string, Policy.Sections>
  /** longest first, so that the first match is the one that counts; each ends with a dot */
  readonly prefixes: ReadonlyArray<readonly [prefix: string, sections: Policy.Sections]>
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

const isPrefix = (pattern: string): boolean => pattern.endsWith(".*")

const prefixOf = (pattern: string): string => pattern.slice(0, -1)

export const make = (
  entries: Readonly<Record<string, Policy.Sections>>,
  defaults: Policy.Sections = {}
): PolicySet => {
  const all = Object.entries(entries)
  return {
    exact: new Map(all.filter(([pattern]) => pattern !== "*" && !isPrefix(pattern))),
    prefixes: all.filter(([pattern]) => isPrefix(pattern))
      .map(([pattern, sections]) => [prefixOf(pattern), sections] as const)
      .toSorted(([a], [b]) => b.length - a.length),
    any: entries["*"],
    defaults
  }
}

/** The same with another entry for one key, or without one. */
export const withExact = (set: PolicySet, key: string, sections: Policy.Sections | undefined): PolicySet => {
  const exact = new Map(set.exact)
  if (sections === undefined) exact.delete(key)
  else exact.set(key, sections)
  return { ...set, exact }
}

/** The entries that match a key, from general to specific. */
export const matching = (
  set: PolicySet,
  key: string
): ReadonlyArray<readonly [pattern: string, sections: Policy.Sections]> => {
  const prefix = set.prefixes.find(([text]) => key.startsWith(text))
  const found = [
    ["*", set.any],
    [`${prefix?.[0]}*`, prefix?.[1]],
    [key, set.exact.get(key)]
  ] as const
  return found.flatMap(([pattern, sections]) => sections === undefined ? [] : [[pattern, sections] as const])
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
  ...set.prefixes.map(([prefix, sections]) => [`${prefix}*`, sections] as const),
  ...set.exact
]

/** What keys get that no entry matches, where the layer gives them its defaults. */
export const forMissing = (set: PolicySet): Policy.Sections => Policy.merge(Policy.defaults.sections, set.defaults)

/** Every entry as it ends up for a key that matches it, for checks and warnings at boot. */
export const merged = (set: PolicySet): ReadonlyArray<readonly [pattern: string, sections: Policy.Sections]> => [
  ...(set.any === undefined ? [] : [["*", Policy.merge(set.defaults, set.any)] as const]),
  ...set.prefixes.map(([prefix]) => [`${prefix}*`, resolve(set, prefix)!] as const),
  ...[...set.exact.keys()].map((key) => [key, resolve(set, key)!] as const)
]

/** What a pattern stands for where policies are looked up: itself, or some key that it covers. */
export const keyOf = (pattern: string): string => pattern === "*" ? "" : isPrefix(pattern) ? prefixOf(pattern) : pattern

/** Whether a pattern covers a key. */
export const covers = (pattern: string, key: string): boolean =>
  pattern === "*" || pattern === key || (isPrefix(pattern) && key.startsWith(prefixOf(pattern)))
