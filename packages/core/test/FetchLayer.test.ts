import { assert, describe, it } from "@effect/vitest"
import { PolicyLayer, PolicyProvider, Rego } from "@rego/core"
import { Context, Effect, Exit, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import { key } from "./support.ts"

type Options = PolicyLayer.FetchOptions<never, never>

const fetch: Options["fetch"] = () => Effect.succeed(Option.none())

const build = (options: unknown) =>
  Effect.map(
    Layer.build(PolicyLayer.fetch(options as Options)),
    (context) => Context.get(context, PolicyProvider.PolicyProvider)
  )

/** The paths of the issues, none where the layer is built. */
const refused = (options: unknown) =>
  Effect.map(Effect.exit(Effect.scoped(build(options))), (exit) =>
    Option.match(Exit.findErrorOption(exit), {
      onNone: () => Exit.isSuccess(exit) ? [] : assert.fail(String(exit)),
      onSome: ({ issues }) => issues.map(({ path }) => path.join("."))
    }))

describe("FetchLayer", () => {
  const bad = { retry: { maxAttempts: 0 } }
  const rows: ReadonlyArray<readonly [string, unknown, ReadonlyArray<string>]> = [
    ["only what must be said", { fetch, ttl: 1_000 }, []],
    ["defaults that are left open", { fetch, ttl: 1_000, defaults: undefined }, []],
    ["good defaults", { fetch, ttl: 1_000, defaults: { retry: {} } }, []],
    ["a bad number and no defaults", { fetch, ttl: 0 }, ["ttl"]],
    ["a bad number and good defaults", { fetch, ttl: 0, defaults: { retry: {} } }, ["ttl"]],
    ["bad defaults", { fetch, ttl: 1_000, defaults: bad }, ["defaults.retry.maxAttempts"]],
    ["bad defaults and a bad number", { fetch, ttl: 0, defaults: bad }, ["ttl", "defaults.retry.maxAttempts"]],
    ["defaults that are no policy", { fetch, ttl: 1_000, defaults: null }, ["defaults"]],
    ["nothing", undefined, [""]],
    ["null", null, [""]],
    ["a text", "defaults", [""]]
  ]
  for (const [what, options, paths] of rows) {
    it.effect(`given ${what} ${paths.length === 0 ? "is built" : "has an issue for each mistake"}`, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* refused(options), paths)
      }))
  }

  it.effect("says that `fetch` must be a function", () =>
    Effect.gen(function*() {
      const { issues } = yield* Effect.flip(Effect.scoped(build({ fetch: 7, ttl: 1_000 })))
      assert.deepStrictEqual(issues, [{ path: ["fetch"], message: "must be a function, got 7" }])
    }))

  it.effect("has a status before the first answer", () =>
    Effect.gen(function*() {
      const { revision, source } = yield* (yield* build({ fetch, ttl: 1_000 })).status
      assert.deepStrictEqual([revision, source], ["fetched", "live"])
    }))

  for (const [ttl, most] of [["5 seconds", 5_000], ["1 minute", 10_000], ["1 day", 10_000]] as const) {
    it.effect(`remembers for ${most} ms that there is no policy, where an answer counts for ${ttl}`, () =>
      Effect.gen(function*() {
        let fetches = 0
        const counted = () =>
          Effect.sync(() => {
            fetches++
            return Option.none()
          })
        const provider = yield* build({ fetch: counted, ttl })
        const call = Effect.andThen(
          Effect.provideService(Rego.resilient(Effect.void, key), PolicyProvider.PolicyProvider, provider),
          TestClock.adjust(0)
        )
        yield* call
        // up to a tenth less
        yield* TestClock.adjust(most * 0.9 - 1)
        yield* call
        assert.strictEqual(fetches, 1)
        yield* TestClock.adjust(most * 0.1 + 1)
        yield* call
        assert.strictEqual(fetches, 2)
      }))
  }
})
