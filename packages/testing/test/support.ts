/** What the tests of the suites share. */
import { assert, describe, it } from "@effect/vitest"
import { Law } from "@rego/testing"
import { Effect } from "effect"

export const seed = Number(process.env["REGO_SEED"] ?? "20260401")

/** Registers a test for each law of a suite. */
export const holds = (name: string, suite: ReadonlyArray<Law.Law>): void => {
  describe(`laws of ${name}`, () => {
    for (const law of suite) it.effect(law.name, () => law.run)
  })
}

export interface BrokenPart {
  readonly what: string
  /** names of laws, each of which it must break */
  readonly breaks: ReadonlyArray<string>
  readonly suite: ReadonlyArray<Law.Law>
}

/** A suite that no part can break tests nothing: each law must be broken by one of these. */
export const notices = (laws: ReadonlyArray<Law.Law>, parts: ReadonlyArray<BrokenPart>): void => {
  for (const { breaks, suite, what } of parts) {
    it.effect(`notices one that ${what}`, () =>
      Effect.gen(function*() {
        const broken = (yield* Law.broken(suite)).map(({ name }) => name)
        for (const name of breaks) assert.include(broken, name)
      }))
  }

  it("has a broken part for each law", () => {
    assert.sameMembers([...new Set(parts.flatMap(({ breaks }) => breaks))], laws.map(({ name }) => name))
  })
}
