/**
 * The operator of this library: turns an effect into a call that runs under the policy of its key.
 *
 * **When to use**
 *
 * - `resilient` in programs: one line at the call site.
 * - `makeResilient` in the layer of a service: its methods then need no `PolicyProvider`.
 * - `resilientWithTimeline` where the caller wants to see the attempts of a success.
 * - `resilientService`, `makeResilientService` for all methods of a service or client at once.
 *
 * **Details**
 *
 * The effect runs once for each attempt, in a fiber of its own. The result is the exit of the winning attempt, else of the
 * attempt after which the call stopped: the same value, the same error objects. `RegoError` appears only where there is no
 * such exit.
 *
 * **Example** (A call)
 *
 * ```ts
 * import { PolicyLayer, Rego } from "@rego/core"
 * import { Effect } from "effect"
 *
 * let calls = 0
 * const getUser = (id: string) =>
 *   Effect.suspend(() => ++calls === 1 ? Effect.fail("503") : Effect.succeed({ id })).pipe(
 *     Rego.resilient("user-service.GetUser")
 *   )
 *
 * const Policies = PolicyLayer.make({ policies: { "user-service.*": { retry: { maxAttempts: 3 } } } })
 *
 * await Effect.runPromise(getUser("ada").pipe(Effect.provide(Policies))) // => { id: "ada" }
 * ```
 *
 * @since 0.1.0
 */
import { Context, Effect } from "effect"
import { dual } from "effect/Function"
import type { Bindings } from "./Bindings.ts"
import type * as Classifier from "./Classifier.ts"
import * as Executor from "./Executor.ts"
import type * as PolicyKey from "./PolicyKey.ts"
import { PolicyProvider } from "./PolicyProvider.ts"
import type { RegoError } from "./RegoError.ts"
import * as Service from "./ResilientService.ts"
import type { Timeline } from "./Timeline.ts"

type Late<T> = Classifier.Late<T>

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * What only the call site can know about a call. All of it is optional: the policy of the key has the rest.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<in A = unknown, in E = unknown> {
  /** whether running the effect twice is safe; counts more than what the policy says */
  readonly idempotent?: boolean | undefined
  /** `false` where a run uses up what it cannot get back, such as a stream that is read once: one attempt, no hedges */
  readonly replayable?: boolean | undefined
  /** asked before the classifier of the policy */
  readonly classifier?: Classifier.Classifier<A, E> | undefined
  /** asked after the classifier of the policy: what an adapter knows of its protocol, and a policy may know better */
  readonly protocol?: Classifier.Protocol<A, E> | undefined
  /**
   * Runs for every success that is not returned, because it was classified Retryable and tried again, or because another
   * attempt won in the same turn of the event loop: a response that must be closed. Supervised and never waited for. An attempt that was interrupted ends without a
   * value, so that what it had acquired is released by its scope and finalizers only.
   */
  readonly onDiscard?: ((value: A) => Effect.Effect<void>) | undefined
}

/**
 * The operator with its provider taken once.
 *
 * @category models
 * @since 0.1.0
 */
export interface Resilient {
  <A, E>(
    key: PolicyKey.Input,
    options:
      & Options<Late<A>, Late<E>>
      & (
        | { readonly classifier: Classifier.Classifier<Late<A>, Late<E>> }
        | { readonly onDiscard: (value: Late<A>) => Effect.Effect<void> }
      )
  ): <R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | RegoError, R>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    key: PolicyKey.Input,
    options?: Options<Late<A>, Late<E>> | undefined
  ): Effect.Effect<A, E | RegoError, R>
  (
    key: PolicyKey.Input,
    options?: Options | undefined
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | RegoError, R>
}

// -----------------------------------------------------------------------------
// operators
// -----------------------------------------------------------------------------

const bindingsOf = (context: Context.Context<never>): Bindings =>
  Context.get(context as Context.Context<PolicyProvider>, PolicyProvider)["~@rego/core/PolicyProvider"]

type Self = Effect.Effect<unknown, unknown, unknown>

/**
 * `dual` for each call would collect its arguments in an array. A key in second place tells that the effect comes first;
 * `isEffect` takes longer, and is asked only where there is none.
 */
const operator =
  (of: (context: Context.Context<never>) => Bindings, withTimeline: boolean): any =>
  (first: Self | string, second?: string | Executor.CallOptions, third?: Executor.CallOptions) =>
    typeof first !== "string" && (typeof second === "string" || Effect.isEffect(first))
      ? Executor.execute(first, second as string, third, of, withTimeline)
      : (self: Self) => Executor.execute(self, first, second as Executor.CallOptions | undefined, of, withTimeline)

// The overload with a typed classifier comes first and blocks inference from the classifier (`Late`), so that A and E
// come from `pipe` only. The plain data-last one keeps A, E and R inside, so that a stored operator stays generic; it is
// last because TypeScript reports the error of the last overload. Result types are written out: an alias would hide
// RegoError and PolicyProvider in editors.

/**
 * Runs an effect as a call under the policy of a key.
 *
 * **Details**
 *
 * Requires `PolicyProvider`: forgetting the layer does not compile. A key is the same for every run of an operation
 * (`"user-service.GetUser"`), never an id.
 *
 * **Gotchas**
 *
 * Stored with a classifier (`const op = Rego.resilient("k", { classifier })`) the operator has `unknown` for A and E: put
 * such a classifier into the policy.
 *
 * @category operators
 * @since 0.1.0
 */
export const resilient: {
  <A, E>(
    key: PolicyKey.Input,
    options:
      & Options<Late<A>, Late<E>>
      & (
        | { readonly classifier: Classifier.Classifier<Late<A>, Late<E>> }
        | { readonly onDiscard: (value: Late<A>) => Effect.Effect<void> }
      )
  ): <R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | RegoError, R | PolicyProvider>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    key: PolicyKey.Input,
    options?: Options<Late<A>, Late<E>> | undefined
  ): Effect.Effect<A, E | RegoError, R | PolicyProvider>
  (
    key: PolicyKey.Input,
    options?: Options | undefined
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | RegoError, R | PolicyProvider>
} = operator(bindingsOf, false)

/**
 * Like `resilient`; a success comes with the timeline of its call.
 *
 * **Details**
 *
 * A failure carries its timeline anyway: `Timeline.fromCause`.
 *
 * @category operators
 * @since 0.1.0
 */
export const resilientWithTimeline: {
  <A, E>(
    key: PolicyKey.Input,
    options:
      & Options<Late<A>, Late<E>>
      & (
        | { readonly classifier: Classifier.Classifier<Late<A>, Late<E>> }
        | { readonly onDiscard: (value: Late<A>) => Effect.Effect<void> }
      )
  ): <R>(
    self: Effect.Effect<A, E, R>
  ) => Effect.Effect<readonly [A, Timeline], E | RegoError, R | PolicyProvider>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    key: PolicyKey.Input,
    options?: Options<Late<A>, Late<E>> | undefined
  ): Effect.Effect<readonly [A, Timeline], E | RegoError, R | PolicyProvider>
  (
    key: PolicyKey.Input,
    options?: Options | undefined
  ): <A, E, R>(
    self: Effect.Effect<A, E, R>
  ) => Effect.Effect<readonly [A, Timeline], E | RegoError, R | PolicyProvider>
} = operator(bindingsOf, true)

/**
 * The operator with the provider taken once, for authors of services.
 *
 * **Details**
 *
 * The requirement moves to the layer of the service, where it belongs. Live policies still arrive. After the policy layer
 * has closed the operator goes on with the last policies; abandoned attempts are then no longer supervised.
 *
 * **Example** (A service whose methods need nothing)
 *
 * ```ts
 * import { PolicyLayer, Rego } from "@rego/core"
 * import { Context, Effect, Layer } from "effect"
 * import type { RegoError } from "@rego/core"
 *
 * class Users extends Context.Service<Users, {
 *   readonly get: (id: string) => Effect.Effect<string, RegoError.RegoError>
 * }>()("Users") {
 *   static readonly layer = Layer.effect(
 *     Users,
 *     Effect.map(Rego.makeResilient, (resilient) =>
 *       Users.of({ get: (id) => Effect.succeed(`user ${id}`).pipe(resilient("users.Get")) }))
 *   )
 * }
 *
 * const program = Effect.flatMap(Users, (users) => users.get("1")).pipe(
 *   Effect.provide(Users.layer.pipe(Layer.provide(PolicyLayer.defaults)))
 * )
 *
 * await Effect.runPromise(program) // => "user 1"
 * ```
 *
 * @category operators
 * @since 0.1.0
 */
export const makeResilient: Effect.Effect<Resilient, never, PolicyProvider> = Effect.map(PolicyProvider, (provider) => {
  const bindings = provider["~@rego/core/PolicyProvider"]
  return operator(() => bindings, false)
})

// -----------------------------------------------------------------------------
// services
// -----------------------------------------------------------------------------

/**
 * A service whose methods are calls: what they return may also fail with `RegoError`, and needs `R`.
 *
 * **Details**
 *
 * `Only` and `Except` are the names that were chosen. A method keeps its parameters and up to four overloads. Type
 * parameters of a method are lost: they become their constraints.
 *
 * @category models
 * @since 0.1.0
 */
export type ResilientService<S, R = PolicyProvider, Only = string, Except = never> = Service.ResilientService<
  S,
  R,
  Only,
  Except
>

/**
 * The names of the methods and effects of a service, and of those in its groups: `"get"`, `"users"`, `"users.get"`.
 *
 * @category models
 * @since 0.1.0
 */
export type MethodName<S> = Service.MethodName<S>

/**
 * Under which keys the methods of a service run, which of them, and what is known about them.
 *
 * @category options
 * @since 0.1.0
 */
export interface ServiceOptions<
  Names extends string = string,
  Only extends string = string,
  Except extends ReadonlyArray<string> = ReadonlyArray<string>
> extends Service.ServiceOptions<Names, Only, Except> {}

/** The effects of a service have types that only the service knows. */
const viewWith = (service: object, options: ServiceOptions, operator: typeof resilient | Resilient): object =>
  Service.viewOf(service, options, operator as unknown as Service.Operator)

/**
 * A view of a service in which each method that returns an effect is a call under `namespace.method`.
 *
 * **When to use**
 *
 * For a client or a repository that you have: a `Context.Service`, an RPC client. For an `HttpApi` client, whose methods
 * have type parameters, see `ResilientClient`.
 *
 * **Details**
 *
 * | member | in the view |
 * | --- | --- |
 * | a method that returns an effect | what it returns is a call under the key `namespace.method` |
 * | an effect | a call under the key `namespace.name` |
 * | a plain object that holds methods or effects | a group: the same for its members, under `namespace.group.method` |
 * | a method that returns a `Stream`, a promise, a function, a value | does what it did |
 * | everything else, symbols, what carries a type id of Effect | the same object |
 *
 * The service itself is not changed. Methods run with the service as `this`: what they call on it is no call of its own,
 * so that only one layer retries. A key that is no valid one (a method named `$get`) runs under the overflow key of the
 * namespace, with one warning.
 *
 * **Gotchas**
 *
 * The method is called once; the effect it returns runs once for each attempt. So whatever the method does before it
 * returns is done once.
 *
 * Without `idempotent`, all methods are treated as the policy says. Say which may run twice, or keep writes out with
 * `except`.
 *
 * **Example** (A client with one method that must not run twice)
 *
 * ```ts
 * import { PolicyLayer, Rego } from "@rego/core"
 * import { Context, Effect } from "effect"
 *
 * class Orders extends Context.Service<Orders, {
 *   readonly get: (id: number) => Effect.Effect<string, "503">
 *   readonly place: (item: string) => Effect.Effect<number, "503">
 * }>()("Orders") {}
 *
 * let requests = 0
 * const flaky = Effect.suspend(() => ++requests % 2 === 1 ? Effect.fail("503" as const) : Effect.void)
 * const client = Orders.of({ get: (id) => Effect.as(flaky, `order ${id}`), place: () => Effect.as(flaky, 1) })
 *
 * const orders = Rego.resilientService(client, {
 *   namespace: "orders",
 *   idempotent: { get: true, place: false }
 * })
 *
 * const Policies = PolicyLayer.make({ policies: { "orders.*": { retry: {}, timeout: { overall: "1 second" } } } })
 *
 * await Effect.runPromise(orders.get(7).pipe(Effect.provide(Policies))) // => "order 7"
 * await Effect.runPromise(orders.place("tea").pipe(Effect.flip, Effect.provide(Policies))) // => "503"
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export const resilientService: {
  <const Only extends string = string, const Except extends ReadonlyArray<string> = []>(
    options: ServiceOptions<string, Only, Except>
  ): <S extends object>(service: S) => ResilientService<S, PolicyProvider, Only, Service.Listed<Except>>
  <
    S extends object,
    const Only extends MethodName<S> = MethodName<S>,
    const Except extends ReadonlyArray<MethodName<S>> = []
  >(
    service: S,
    options: ServiceOptions<MethodName<S>, Only, Except>
  ): ResilientService<S, PolicyProvider, Only, Service.Listed<Except>>
} = dual(2, (service: object, options: ServiceOptions): any => viewWith(service, options, resilient))

/**
 * Like `resilientService`, with the provider taken once: the methods need no `PolicyProvider`.
 *
 * **Details**
 *
 * For the layer of a service. As with `makeResilient`, live policies still arrive.
 *
 * **Example** (A service whose layer makes its methods resilient)
 *
 * ```ts
 * import { PolicyLayer, Rego } from "@rego/core"
 * import { Context, Effect, Layer } from "effect"
 *
 * const make = Effect.succeed({ get: (id: number) => Effect.succeed(`user ${id}`) })
 *
 * class Users extends Context.Service<
 *   Users,
 *   Rego.ResilientService<Effect.Success<typeof make>, never>
 * >()("Users") {
 *   static readonly layer = Layer.effect(
 *     Users,
 *     make.pipe(Effect.flatMap(Rego.makeResilientService({ namespace: "users" })))
 *   )
 * }
 *
 * const program = Effect.flatMap(Users, (users) => users.get(1)).pipe(
 *   Effect.provide(Users.layer.pipe(Layer.provide(PolicyLayer.defaults)))
 * )
 * await Effect.runPromise(program) // => "user 1"
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export const makeResilientService: {
  <const Only extends string = string, const Except extends ReadonlyArray<string> = []>(
    options: ServiceOptions<string, Only, Except>
  ): <S extends object>(
    service: S
  ) => Effect.Effect<ResilientService<S, never, Only, Service.Listed<Except>>, never, PolicyProvider>
  <
    S extends object,
    const Only extends MethodName<S> = MethodName<S>,
    const Except extends ReadonlyArray<MethodName<S>> = []
  >(
    service: S,
    options: ServiceOptions<MethodName<S>, Only, Except>
  ): Effect.Effect<ResilientService<S, never, Only, Service.Listed<Except>>, never, PolicyProvider>
} = dual(
  2,
  (service: object, options: ServiceOptions): any =>
    Effect.map(makeResilient, (operator) => viewWith(service, options, operator))
)
