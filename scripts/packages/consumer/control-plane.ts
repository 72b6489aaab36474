/** A policy that changes while the program runs. */
import * as MemorySource from "@rego/control-plane/MemorySource"
import { PolicyLayer, PolicyProvider } from "@rego/core"
import { Effect, Layer, Option } from "effect"

const document = (revision: string, maxAttempts: number) => ({
  schemaVersion: "1.0",
  revision,
  policies: { "users.*": { retry: { maxAttempts }, timeout: { overall: "1 second" } } }
})

const attempts = Effect.gen(function*() {
  const provider = yield* PolicyProvider.PolicyProvider
  const policy = yield* provider.policy("users.Get")
  const retry = Option.getOrThrow(policy).sections.retry
  return retry === "off" ? undefined : retry?.maxAttempts
})

/** Waits until that many attempts are in force. */
const seen = (expected: number) =>
  attempts.pipe(
    Effect.delay("2 millis"),
    Effect.repeat({ until: (actual) => actual === expected }),
    Effect.timeout("10 seconds")
  )

const program = Effect.gen(function*() {
  const memory = yield* MemorySource.make()
  yield* memory.publish(document("1", 3))
  const Policies = PolicyLayer.live().pipe(Layer.provide(memory.layer))
  yield* Effect.gen(function*() {
    yield* seen(3)
    yield* memory.publish(document("2", 2))
    yield* seen(2)
  }).pipe(Effect.provide(Policies))
})

await Effect.runPromise(program)
