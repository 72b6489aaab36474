/** What a program that installed `@rego/core` alone does first. It runs in Node, Bun, Deno and browsers. */
import { Backoff, PolicyLayer, Rego, Timeline } from "@rego/core"
import { Effect } from "effect"

const Policies = PolicyLayer.make({
  policies: {
    "users.*": {
      retry: { maxAttempts: 3, backoff: Backoff.constant("5 millis") },
      timeout: { perAttempt: "1 second", overall: "5 seconds" }
    }
  }
})

let runs = 0
const getUser = Effect.suspend(() => ++runs < 3 ? Effect.fail("down") : Effect.succeed("ada")).pipe(
  Rego.resilient("users.Get")
)

const program = Effect.gen(function*() {
  const [exit, [timeline]] = yield* Timeline.capture(getUser)
  return { user: yield* exit, attempts: timeline?.attempts.length }
})

export const done: Promise<string> = Effect.runPromise(program.pipe(Effect.provide(Policies))).then((result) => {
  const text = JSON.stringify(result)
  if (text !== `{"user":"ada","attempts":3}`) throw new Error(`core: ${text}`)
  return text
})
