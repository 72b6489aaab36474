/**
 * Which instances get a change first. Pure.
 *
 * An instance and an entry give a number between 0 and 100 that never changes; the instance gets the change of the entry
 * while the percentage is above it. So a higher percentage only adds instances, a lower one takes away those that came
 * last, and other entries choose other instances.
 *
 * @internal
 */
import { Effect, Random } from "effect"
import type * as Policy from "./Policy.ts"
import { merge } from "./Policy.ts"
import type { Entry } from "./PolicyDocument.ts"
import type { Steps } from "./Steps.ts"
import { mapValues, runNow } from "./Steps.ts"

/**
 * FNV-1a, and the last steps of MurmurHash3, without which texts that differ at their end have numbers that lie together.
 * Sources: RFC 9923 (FNV); A. Appleby, MurmurHash3, public domain.
 */
export const hash = (text: string, seed = 0): number => {
  let h = 0x811c9dc5 ^ seed
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

const range = 2 ** 32

/** Where an instance stands for an entry, from 0 to just below 100. */
export const placeOf = (instance: string, pattern: string): number => hash(`${instance}\n${pattern}`) / range * 100

/** What an instance gets of an entry when a rollout has reached it. */
export const rolledOut = (entry: Entry): Policy.Sections =>
  entry.rollout === undefined ? entry : merge(entry, entry.rollout.change)

/** What an instance gets of an entry. */
export const chosen = (entry: Entry, pattern: string, instance: string): Policy.Sections =>
  entry.rollout !== undefined && placeOf(instance, pattern) < entry.rollout.percent ? rolledOut(entry) : entry

/** The same for all entries of a document. */
export const choosing = (
  entries: Readonly<Record<string, Entry>>,
  instance: string
): Steps<Readonly<Record<string, Policy.Sections>>> =>
  mapValues<Entry, Policy.Sections>(entries, (entry, pattern) => chosen(entry, pattern, instance))

export const allChosen = (
  entries: Readonly<Record<string, Entry>>,
  instance: string
): Readonly<Record<string, Policy.Sections>> => runNow(choosing(entries, instance))

/** Who is not named is somebody else at each start. */
export const instanceOr = (name: string | undefined): Effect.Effect<string> =>
  name === undefined ? Effect.map(Random.nextInt, String) : Effect.succeed(name)
