/**
 * What the types of a resilient service keep, and what TypeScript makes them lose. Checked by `tsc -b`; nothing here runs.
 */
import type { PolicyProvider, RegoError } from "@rego/core"
import { Rego } from "@rego/core"
import * as ResilientClient from "@rego/core/ResilientClient"
import type { Cache, Queue, Stream } from "effect"
import { Context, Data, Effect, Layer, Schema } from "effect"
import type { HttpClientError, HttpClientResponse } from "effect/http"
import { HttpApi, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import type { HttpApiClient } from "effect/http-api"
import { Rpc, RpcGroup } from "effect/rpc"
import type { RpcClient, RpcClientError } from "effect/rpc"

type Equals<X, Y> = (<T>() => T extends X ? 1 : 2) extends <T>() => T extends Y ? 1 : 2 ? true : false
const is = <_T extends true>(): void => {}
type PP = PolicyProvider.PolicyProvider
type RE = RegoError.RegoError

class NotFound extends Data.TaggedError("NotFound") {}
class Db extends Context.Service<Db, {}>()("Db") {}

interface Users {
  readonly get: (id: string, fresh?: boolean) => Effect.Effect<string, NotFound, Db>
  readonly list: Effect.Effect<ReadonlyArray<string>, NotFound>
  readonly find?: (name: string) => Effect.Effect<string>
  readonly byKey: {
    (id: string): Effect.Effect<string>
    (id: number, strict: true): Effect.Effect<number, NotFound>
  }
  readonly watch: (id: string) => Stream.Stream<string, NotFound>
  readonly either: (id: string) => Effect.Effect<string, NotFound> | Stream.Stream<string>
  readonly isName: (u: unknown) => u is string
  readonly missing: (id: string) => NotFound
  readonly later: () => Promise<number>
  readonly url: string
  readonly cache: Cache.Cache<string, number>
  readonly queue: Queue.Queue<number>
  readonly admin: {
    readonly remove: (id: string) => Effect.Effect<void, NotFound, Db>
    readonly name: string
  }
  readonly settings: { readonly retries: number; readonly describe: () => string }
}
declare const users: Users

// ------------------------------------------------------------------ each kind of member
const all = Rego.resilientService(users, { namespace: "users" })
type All = typeof all
is<Equals<All["get"], (id: string, fresh?: boolean) => Effect.Effect<string, NotFound | RE, Db | PP>>>()
is<Equals<All["list"], Effect.Effect<ReadonlyArray<string>, NotFound | RE, PP>>>()
is<Equals<All["find"], ((name: string) => Effect.Effect<string, RE, PP>) | undefined>>()
is<Equals<All["admin"]["remove"], (id: string) => Effect.Effect<void, NotFound | RE, Db | PP>>>()

// left alone, to the letter
type Left = "watch" | "isName" | "missing" | "later" | "url" | "cache" | "queue" | "settings"
is<Equals<Pick<All, Left>, Pick<Users, Left>>>()
is<Equals<All["admin"]["name"], string>>()
is<
  Equals<
    All["either"],
    (id: string) => Effect.Effect<string, NotFound | RE, PP> | Stream.Stream<string>
  >
>()

// overloads: each keeps its own answer
const byText = all.byKey("a")
is<Equals<typeof byText, Effect.Effect<string, RE, PP>>>()
const byNumber = all.byKey(1, true)
is<Equals<typeof byNumber, Effect.Effect<number, NotFound | RE, PP>>>()
// @ts-expect-error no such overload
void all.byKey(1)

// ------------------------------------------------------------------ names
is<
  Equals<Rego.MethodName<Users>, "get" | "list" | "find" | "byKey" | "either" | "admin" | "admin.remove">
>()
// @ts-expect-error no such method
Rego.resilientService(users, { namespace: "users", only: ["got"] })
// @ts-expect-error no such method
Rego.resilientService(users, { namespace: "users", except: ["got"] })
// @ts-expect-error no such method
Rego.resilientService(users, { namespace: "users", keys: { got: "users.Get" } })
// @ts-expect-error a stream is not wrapped
Rego.resilientService(users, { namespace: "users", idempotent: { watch: true } })
// @ts-expect-error no such option
Rego.resilientService(users, { namespace: "users", idempotant: true })
// @ts-expect-error a namespace is needed
Rego.resilientService(users, {})
Rego.resilientService(users, {
  namespace: "users",
  keys: { "admin.remove": "users.Remove" },
  idempotent: (name) => is<Equals<typeof name, Rego.MethodName<Users>>>() === undefined
})

// ------------------------------------------------------------------ only, except
const some = Rego.resilientService(users, { namespace: "users", only: ["get", "admin"] })
is<Equals<typeof some.get, All["get"]>>()
is<Equals<typeof some.list, Users["list"]>>()
is<Equals<typeof some.admin.remove, All["admin"]["remove"]>>()

const most = Rego.resilientService(users, { namespace: "users", except: ["get", "admin.remove"] })
is<Equals<typeof most.get, Users["get"]>>()
is<Equals<typeof most.list, All["list"]>>()
is<Equals<typeof most.admin.remove, Users["admin"]["remove"]>>()

// a list that is no literal may be shorter than its type says: everything may be wrapped
declare const names: ReadonlyArray<"get" | "list">
const unsure = Rego.resilientService(users, { namespace: "users", except: names })
is<Equals<typeof unsure.get, All["get"]>>()

// ------------------------------------------------------------------ data-last, and without the requirement
const piped = Rego.resilientService({ namespace: "users", except: ["list"] })(users)
is<Equals<typeof piped.get, All["get"]>>()
is<Equals<typeof piped.list, Users["list"]>>()

const made = Rego.makeResilientService(users, { namespace: "users" })
is<Equals<Effect.Services<typeof made>, PP>>()
is<
  Equals<
    Effect.Success<typeof made>["get"],
    (id: string, fresh?: boolean) => Effect.Effect<string, NotFound | RE, Db>
  >
>()

// a service that says so in its own type
class Resilient extends Context.Service<Resilient, Rego.ResilientService<Users, never>>()("Resilient") {
  static readonly layer = Layer.effect(
    Resilient,
    Effect.succeed(users).pipe(Effect.flatMap(Rego.makeResilientService({ namespace: "users" })))
  )
}
is<Equals<typeof Resilient.layer, Layer.Layer<Resilient, never, PP>>>()

// ------------------------------------------------------------------ classes and mutable members
declare class Client {
  private readonly secret: string
  readonly name: string
  get(id: string): Effect.Effect<string>
}
declare const client: Client
const ofClass = Rego.resilientService(client, { namespace: "client" })
is<Equals<typeof ofClass.get, (id: string) => Effect.Effect<string, RE, PP>>>()

// a client with an index signature
declare const byTag: { readonly [tag: string]: (payload: unknown) => Effect.Effect<number> }
const ofTags = Rego.resilientService(byTag, { namespace: "tags", only: ["a"] })
void ofTags["b"]

// a client that is a function has no methods
declare const flat: (tag: "Get", payload: string) => Effect.Effect<string>
// @ts-expect-error not callable any more
Rego.resilientService(flat, { namespace: "flat" })("Get", "x")

// ------------------------------------------------------------------ what is lost
interface Lossy {
  readonly query: <A>(decode: (row: unknown) => A) => Effect.Effect<A>
  readonly narrow: <K extends "a" | "b">(key: K) => Effect.Effect<K>
  readonly five: {
    (a: 1): Effect.Effect<1>
    (a: 2): Effect.Effect<2>
    (a: 3): Effect.Effect<3>
    (a: 4): Effect.Effect<4>
    (a: 5): Effect.Effect<5>
  }
}
declare const lossy: Lossy
const lost = Rego.resilientService(lossy, { namespace: "lossy" })
// type parameters become their constraints
is<Equals<typeof lost.query, (decode: (row: unknown) => unknown) => Effect.Effect<unknown, RE, PP>>>()
is<Equals<typeof lost.narrow, (key: "a" | "b") => Effect.Effect<"a" | "b", RE, PP>>>()
// the first of more than four overloads
void lost.five(5)
// @ts-expect-error lost
void lost.five(1)
// such a method is left out, and made a call by hand
const kept = Rego.resilientService(lossy, { namespace: "lossy", except: ["query"] })
const query = <A>(decode: (row: unknown) => A) => Rego.resilient(kept.query(decode), "lossy.query")
is<Equals<typeof query, <A>(decode: (row: unknown) => A) => Effect.Effect<A, RE, PP>>>()

// ------------------------------------------------------------------ clients that keep their type parameters
class Busy extends Schema.TaggedError<Busy>()("Busy", {}) {}
const Api = HttpApi.make("api").add(
  HttpApiGroup.make("users").add(
    HttpApiEndpoint.get("get", "/users/:id", { params: { id: Schema.String }, success: Schema.String, error: Busy })
  ),
  HttpApiGroup.make("system", { topLevel: true }).add(HttpApiEndpoint.get("health", "/health"))
)
declare const apiClient: HttpApiClient.ForApi<typeof Api>
const api = ResilientClient.httpApi(apiClient, Api, { namespace: "api", idempotent: { "users.get": true } })
type ApiCalls = Effect.Success<typeof api>
is<Equals<ApiCalls, HttpApiClient.ForApi<typeof Api, RE>>>()
is<Equals<Effect.Services<typeof api>, PP>>()
const decoded = (calls: ApiCalls) => calls.users.get({ params: { id: "ada" } })
is<
  Equals<
    ReturnType<typeof decoded>,
    Effect.Effect<string, Busy | RE | HttpClientError.HttpClientError | Schema.SchemaError>
  >
>()
const raw = (calls: ApiCalls) => calls.users.get({ params: { id: "ada" }, responseMode: "response-only" })
is<
  Equals<
    ReturnType<typeof raw>,
    Effect.Effect<HttpClientResponse.HttpClientResponse, RE | HttpClientError.HttpClientError>
  >
>()
// @ts-expect-error no such endpoint
ResilientClient.httpApi(apiClient, Api, { namespace: "api", idempotent: { "users.put": true } })
// @ts-expect-error the client of another API
ResilientClient.httpApi({ users: {} }, Api, { namespace: "api" })

const Rpcs = RpcGroup.make(
  Rpc.make("Get", { payload: { id: Schema.String }, success: Schema.String, error: Busy }),
  Rpc.make("Watch", { success: Schema.Number, error: Busy, stream: true })
)
declare const rpcClient: RpcClient.FromGroup<typeof Rpcs, RpcClientError.RpcClientError>
const rpcs = ResilientClient.rpc(rpcClient, Rpcs, { namespace: "rpc", except: ["Watch"] })
type RpcCalls = Effect.Success<typeof rpcs>
is<Equals<RpcCalls, RpcClient.FromGroup<typeof Rpcs, RpcClientError.RpcClientError | RE>>>()
const got = (calls: RpcCalls) => calls.Get({ id: "ada" })
is<Equals<ReturnType<typeof got>, Effect.Effect<string, Busy | RE | RpcClientError.RpcClientError>>>()
const discarded = (calls: RpcCalls) => calls.Get({ id: "ada" }, { discard: true })
is<Equals<ReturnType<typeof discarded>, Effect.Effect<void, RE | RpcClientError.RpcClientError>>>()
// a client that cannot fail in transport, as RpcTest makes it
declare const testClient: RpcClient.FromGroup<typeof Rpcs>
ResilientClient.rpc(testClient, Rpcs, { namespace: "rpc" })

// what resilientService makes of the same clients: parameters and errors are right, the choice is lost
const plainRpc = Rego.resilientService(rpcClient, { namespace: "rpc" })
const plainGot = plainRpc.Get({ id: "ada" })
is<Equals<typeof plainGot, Effect.Effect<string, Busy | RE | RpcClientError.RpcClientError, PP>>>()
const plainApi = Rego.resilientService(apiClient, { namespace: "api" })
const plainDecoded = plainApi.users.get({ params: { id: "ada" } })
is<
  Equals<
    Effect.Success<typeof plainDecoded>,
    string | HttpClientResponse.HttpClientResponse | [string, HttpClientResponse.HttpClientResponse]
  >
>()
