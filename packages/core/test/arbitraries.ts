/** Generators and the seed of all random tests. */
import { it } from "@effect/vitest"
import type { Vitest } from "@effect/vitest"
import { Effect } from "effect"
import * as Arbitrary from "effect/Arbitrary"
import { boolean, decimal, integer, oneOf, partial, pick } from "../../testing/src/Generate.ts"

/** Set in `vitest.config.ts`: a property that fails must fail again. */
export const seed = Number(process.env["REGO_SEED"] ?? "20260401")

export const withSeed = (message: string): string => `${message}\nreproduce with REGO_SEED=${seed}`

const options = (runs: number) => ({ arbitrary: { runs, seed } })

type Values<Arbs> = { [K in keyof Arbs]: Arbs[K] extends Arbitrary.Arbitrary<infer A> ? A : never }

const rethrow = (error: unknown): never => {
  throw new Error(withSeed(error instanceof Error ? error.message : String(error)), { cause: error })
}

/** A property of pure code; the check fails by throwing. */
export const property = <const Arbs extends { readonly [name: string]: Arbitrary.Arbitrary<any> }>(
  name: string,
  arbitraries: Arbs,
  check: (values: Values<Arbs>) => void,
  runs = 200
): void =>
  it.prop(name, arbitraries as Vitest.Arbitraries, (values) => {
    try {
      check(values as Values<Arbs>)
    } catch (error) {
      rethrow(error)
    }
  }, options(runs))

/** A property of an effect. */
export const effectProperty = <const Arbs extends { readonly [name: string]: Arbitrary.Arbitrary<any> }>(
  name: string,
  arbitraries: Arbs,
  check: (values: Values<Arbs>) => Effect.Effect<void, unknown>,
  runs = 200
): void =>
  it.effect.prop(
    name,
    arbitraries as Vitest.Arbitraries,
    (values) => Effect.catchDefect(check(values as Values<Arbs>), (defect) => Effect.sync(() => rethrow(defect))),
    options(runs)
  )

export const constant = <const A>(value: A): Arbitrary.Arbitrary<A> => Arbitrary.Constant(value)

export { boolean, decimal, integer, oneOf, partial, pick }

export const array = Arbitrary.array

export const map = Arbitrary.map

export const all = Arbitrary.all

export const record = <A>(
  keys: Arbitrary.Arbitrary<string>,
  values: Arbitrary.Arbitrary<A>,
  maxLength: number
): Arbitrary.Arbitrary<Record<string, A>> =>
  map(array(Arbitrary.all([keys, values]), { maxLength }), (entries) => Object.fromEntries(entries))

export const text: Arbitrary.Arbitrary<string> = map(
  array(pick([..."abzAZ019_./:- *\"\\\nü💥"]), { maxLength: 12 }),
  (characters) => characters.join("")
)

/** What `JSON.parse` can answer, three levels deep; names and values that the schemas look for are among them. */
export const json: Arbitrary.Arbitrary<unknown> = (() => {
  const names = oneOf(
    text,
    pick([
      "schemaVersion",
      "revision",
      "policies",
      "defaults",
      "budgets",
      "off",
      "retry",
      "timeout",
      "overall",
      "backoff",
      "type",
      "_tag",
      "constructor",
      "toString",
      "length"
    ])
  )
  const leaf: Arbitrary.Arbitrary<unknown> = oneOf<unknown>(
    pick([
      null,
      true,
      false,
      "off",
      "1.0",
      "1.7",
      "ratio",
      "exponential",
      "250 millis",
      "1 sec",
      0,
      -1,
      1e308,
      2 ** 31
    ]),
    integer(-1_000_000, 1_000_000),
    text
  )
  const deeper = (inner: Arbitrary.Arbitrary<unknown>): Arbitrary.Arbitrary<unknown> =>
    oneOf<unknown>(leaf, array(inner, { maxLength: 4 }), record(names, inner, 5))
  return deeper(deeper(deeper(leaf)))
})()
