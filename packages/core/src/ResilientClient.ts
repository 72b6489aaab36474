/**
 * Typed clients of Effect, made resilient with their types kept: `HttpApi` and RPC.
 *
 * **When to use**
 *
 * Instead of `Rego.resilientService` for clients whose methods have type parameters, which that one loses: the
 * `responseMode` of an `HttpApi` method, the `discard` and `asQueue` of an RPC. The definition of the API carries them.
 *
 * **Details**
 *
 * Both take the provider once, as `Rego.makeResilientService` does, and have its options. An entry of its own
 * (`@rego/core/ResilientClient`), because its types need the unstable parts of Effect; it loads nothing of them.
 *
 * **Gotchas**
 *
 * Every typed failure is worth another attempt unless a classifier says otherwise, and so are the errors that an API
 * declares: say which ones are answers.
 *
 * **Example** (An `HttpApi` client)
 *
 * ```ts
 * import { Classifier, Outcome, PolicyLayer } from "@rego/core"
 * import * as ResilientClient from "@rego/core/ResilientClient"
 * import { Effect, Layer, Schema } from "effect"
 * import { FetchHttpClient } from "effect/http"
 * import { HttpApi, HttpApiClient, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
 *
 * const User = Schema.Struct({ id: Schema.String, name: Schema.String })
 * class NoSuchUser extends Schema.TaggedError<NoSuchUser>()("NoSuchUser", {}, { httpApiStatus: 404 }) {}
 *
 * const users = HttpApiGroup.make("users").add(
 *   HttpApiEndpoint.get("get", "/users/:id", { params: { id: Schema.String }, success: User, error: NoSuchUser })
 * )
 * const Api = HttpApi.make("api").add(users)
 *
 * const program = Effect.gen(function*() {
 *   const client = yield* HttpApiClient.make(Api, { baseUrl: "http://127.0.0.1:1" })
 *   const api = yield* ResilientClient.httpApi(client, Api, {
 *     namespace: "api",
 *     classifier: Classifier.byTag<NoSuchUser>({ NoSuchUser: Outcome.nonRetryable({ reason: "not_found" }) })
 *   })
 *   // a GET, and so safe to run twice; nobody listens on port 1
 *   return yield* api.users.get({ params: { id: "ada" } })
 * })
 *
 * const Policies = PolicyLayer.make({ policies: { "api.*": { retry: {}, timeout: { overall: "1 second" } } } })
 * const error = await Effect.runPromise(program.pipe(Effect.flip, Effect.provide([Policies, FetchHttpClient.layer])))
 * error._tag // => "HttpClientError"
 * ```
 *
 * @since 0.1.0
 */
import type { Effect } from "effect"
import type { HttpApi, HttpApiClient, HttpApiGroup } from "effect/http-api"
import type { Rpc, RpcClient, RpcClientError, RpcGroup } from "effect/rpc"
import type { PolicyProvider } from "./PolicyProvider.ts"
import * as Rego from "./Rego.ts"
import type { RegoError } from "./RegoError.ts"
import { perMethod } from "./ResilientService.ts"

/**
 * Under which keys the endpoints of a client run, which of them, and what is known about them: those of
 * `Rego.resilientService`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<Client>
  extends Rego.ServiceOptions<Rego.MethodName<Client>, Rego.MethodName<Client>, ReadonlyArray<Rego.MethodName<Client>>>
{}

// -----------------------------------------------------------------------------
// HttpApi
// -----------------------------------------------------------------------------

/** RFC 9110, section 9.2.2, and QUERY, which is safe by its definition. */
const idempotentMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"])

interface Definition {
  readonly groups: Readonly<
    Record<
      string,
      { readonly topLevel: boolean; readonly endpoints: Readonly<Record<string, { readonly method: string }>> }
    >
  >
}

/** `users.get` → true: by the name that a method has in the client. */
const idempotentEndpoints = ({ groups }: Definition): ReadonlyMap<string, boolean> =>
  new Map(
    Object.entries(groups).flatMap(([group, { endpoints, topLevel }]) =>
      Object.entries(endpoints).map(([name, { method }]) =>
        [topLevel ? name : `${group}.${name}`, idempotentMethods.has(method)] as const
      )
    )
  )

/**
 * An `HttpApi` client whose methods are calls under `namespace.group.endpoint`, or `namespace.endpoint` for endpoints of a
 * top-level group.
 *
 * **Details**
 *
 * An endpoint whose HTTP method is idempotent may run twice (GET, HEAD, OPTIONS, TRACE, PUT, DELETE, QUERY); POST and PATCH
 * must not, so that they are tried again only when the server surely did nothing. `idempotent` says otherwise.
 *
 * For the client that `HttpApiClient.make` gives.
 *
 * @category constructors
 * @since 0.1.0
 */
export const httpApi = <Id extends string, Groups extends HttpApiGroup.Constraint>(
  client: NoInfer<HttpApiClient.Client<Groups>>,
  api: HttpApi.HttpApi<Id, Groups>,
  options: NoInfer<Options<HttpApiClient.Client<Groups>>>
): Effect.Effect<HttpApiClient.Client<Groups, RegoError>, never, PolicyProvider> => {
  const byMethod = idempotentEndpoints(api as unknown as Definition)
  const { idempotent, ...rest } = options as Rego.ServiceOptions
  return Rego.makeResilientService(client as object, {
    ...rest,
    idempotent: (name: string) => perMethod(idempotent, name) ?? byMethod.get(name)
  } as never) as never
}

// -----------------------------------------------------------------------------
// RPC
// -----------------------------------------------------------------------------

/**
 * An RPC client whose methods are calls under `namespace.tag`. Methods that return a `Stream` are left alone.
 *
 * **Details**
 *
 * An RPC says nothing about running twice: `idempotent` does. An RPC middleware could not do this, because the answer does
 * not pass through it. The group is there for its types.
 *
 * @category constructors
 * @since 0.1.0
 */
export const rpc = <Rpcs extends Rpc.Any>(
  client: NoInfer<RpcClient.RpcClient<Rpcs, RpcClientError.RpcClientError>>,
  _group: RpcGroup.RpcGroup<Rpcs>,
  options: NoInfer<Options<RpcClient.RpcClient<Rpcs, RpcClientError.RpcClientError>>>
): Effect.Effect<RpcClient.RpcClient<Rpcs, RpcClientError.RpcClientError | RegoError>, never, PolicyProvider> =>
  Rego.makeResilientService(client as object, options as never) as never
