/**
 * Small generators, of which others are made.
 *
 * @internal
 */
import { Schema } from "effect"
import * as Arbitrary from "effect/Arbitrary"

export const integer = (minimum: number, maximum: number): Arbitrary.Arbitrary<number> =>
  Arbitrary.schema(Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum, maximum }))))

/** A number with three decimals, bounds included. */
export const decimal = (minimum: number, maximum: number): Arbitrary.Arbitrary<number> =>
  Arbitrary.map(integer(0, 1_000), (share) => minimum + (maximum - minimum) * share / 1_000)

export const boolean: Arbitrary.Arbitrary<boolean> = Arbitrary.map(integer(0, 1), (n) => n === 1)

export const pick = <const A>(values: ReadonlyArray<A>): Arbitrary.Arbitrary<A> =>
  Arbitrary.map(integer(0, values.length - 1), (i) => values[i]!)

export const oneOf = <A>(...choices: ReadonlyArray<Arbitrary.Arbitrary<A>>): Arbitrary.Arbitrary<A> =>
  Arbitrary.flatMap(integer(0, choices.length - 1), (i) => choices[i]!)

/** A record in which each field may be absent. */
export const partial = <const Fields extends { readonly [name: string]: Arbitrary.Arbitrary<any> }>(
  fields: Fields
): Arbitrary.Arbitrary<
  { -readonly [K in keyof Fields]?: Fields[K] extends Arbitrary.Arbitrary<infer A> ? A : never }
> =>
  Arbitrary.map(
    Arbitrary.all(
      Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, Arbitrary.all([boolean, field])]))
    ),
    (all) => Object.fromEntries(Object.entries(all).filter(([, [is]]) => is).map(([name, [, value]]) => [name, value]))
  ) as any
