/**
 * The key of a method: `/pkg.Service/Method` is called under `pkg.Service.Method`, which is how policies name it, however
 * many dots the package has.
 *
 * **Example** (A key, and the policies that match it)
 *
 * ```ts
 * import { GrpcKey } from "@rego/grpc"
 * import { PolicyLayer, PolicyProvider } from "@rego/core"
 * import { Effect, Option } from "effect"
 *
 * GrpcKey.fromPath("/acme.users.v1.Users/Get") // => "acme.users.v1.Users.Get"
 *
 * const Policies = PolicyLayer.make({
 *   policies: { "acme.users.v1.Users.*": { retry: {} }, "acme.users.v1.Users.Get": { idempotent: true } }
 * })
 *
 * const program = Effect.gen(function*() {
 *   const provider = yield* PolicyProvider.PolicyProvider
 *   const policy = yield* provider.policy(GrpcKey.fromPath("/acme.users.v1.Users/Get"))
 *   Option.map(policy, ({ sections }) => [sections.retry, sections.idempotent]) // => Option.some([{}, true])
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(Policies)))
 * ```
 *
 * @since 0.1.0
 */
import type { PolicyKey } from "@rego/core"

/**
 * The key of the path that a method has on the wire.
 *
 * **Details**
 *
 * A path that is not `/Service/Method` is taken as it is, without the slash at its beginning.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromPath = (path: string): PolicyKey.Input => {
  const text = path.startsWith("/") ? path.slice(1) : path
  const [service, method, ...rest] = text.split("/")
  return service && method && rest.length === 0 ? `${service}.${method}` : text
}
