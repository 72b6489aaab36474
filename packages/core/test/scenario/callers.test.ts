/** Many callers at once. */
import { assert, describe, it } from "@effect/vitest"
import { Rego } from "@rego/core"
import { Clock, Effect, Random } from "effect"
import { askedToWait, inVirtualTime, judged, key, policiesOf, seed, under } from "../support.ts"

describe("10,000 callers that a server told to come back in 2 s", () => {
  it.effect(
    "come back neither before that, nor later than 2.5 s, nor more than 300 within any 10 ms",
    () =>
      Effect.gen(function*() {
        const callers = 10_000
        const refusal = askedToWait("2 seconds")
        const arrivals: Array<number> = []
        let refused = 0
        const server = Effect.flatMap(Clock.currentTimeMillis, (now) => {
          if (refused++ < callers) return Effect.fail(refusal)
          arrivals.push(now)
          return Effect.void
        })
        const everybody = Effect.forEach(Array.from({ length: callers }), () => server.pipe(Rego.resilient(key)), {
          concurrency: "unbounded",
          discard: true
        })
        yield* inVirtualTime(everybody, "3 seconds").pipe(
          Effect.flatten,
          (self) => under(self, policiesOf({ retry: {}, classifier: judged })),
          Random.withSeed(seed)
        )
        assert.strictEqual(arrivals.length, callers)
        arrivals.sort((a, b) => a - b)
        assert.isAtLeast(arrivals[0]!, 2_000)
        assert.isAtMost(arrivals.at(-1)!, 2_500)
        let most = 0
        for (let from = 0, to = 0; to < callers; to++) {
          while (arrivals[to]! - arrivals[from]! >= 10) from++
          most = Math.max(most, to - from + 1)
        }
        assert.isAtMost(most, 300)
      }),
    20_000
  )
})
