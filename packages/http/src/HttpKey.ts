/**
 * From a request to the key of its policy.
 *
 * **When to use**
 *
 * - `hostAndMethod` is what a client gets that says nothing: `"api.example.com.GET"`.
 * - `service` gives the requests of a client the name of what it talks to: `"user-service.GET"`.
 * - `routes` names operations: `"user-service.GetUser"` for `GET /users/:id`.
 *
 * **Details**
 *
 * Policies, budgets and statistics are kept for each key, so a key must have few values. None of these functions takes
 * anything from the path or the query; a label of a host that looks like an id (`3f0c….example.com`) becomes `_`.
 *
 * **Example** (Naming routes)
 *
 * ```ts
 * import { HttpKey } from "@rego/http"
 * import { HttpClientRequest } from "effect/http"
 *
 * const key = HttpKey.routes({
 *   "GET /users/:id": "user-service.GetUser",
 *   "POST /users": "user-service.CreateUser"
 * }, HttpKey.service("user-service"))
 *
 * key(HttpClientRequest.get("https://users.test/users/48121?expand=all")) // => "user-service.GetUser"
 * key(HttpClientRequest.delete("https://users.test/users/48121")) // => "user-service.DELETE"
 * ```
 *
 * @since 0.1.0
 */
import { PolicyKey } from "@rego/core"
import * as FindMyWay from "effect/http/FindMyWay"
import type { HttpClientRequest } from "effect/http/HttpClientRequest"
import type { HttpMethod } from "effect/http/HttpMethod"
import { isHttpMethod } from "effect/http/HttpMethod"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * The key of a request. One that is no valid key runs under an overflow key (`PolicyKey`).
 *
 * @category models
 * @since 0.1.0
 */
export interface HttpKey {
  (request: HttpClientRequest): PolicyKey.Input
}

/**
 * `METHOD /path`, with `:name` for a segment that varies and `*` at the end for all that follows.
 *
 * @category models
 * @since 0.1.0
 */
export type Route = `${HttpMethod} /${string}`

// -----------------------------------------------------------------------------
// parts of a URL
// -----------------------------------------------------------------------------

/** The URL of a request holds no query and no fragment yet; user and password are no part of a name. */
const absolute = /^(?<scheme>[a-z][a-z\d+.-]*):\/\/(?:[^/?#]*@)?(?<host>[^/?#]*)(?<path>[^?#]*)/i

const defaultPort: Readonly<Record<string, RegExp>> = { http: /:80$/, https: /:443$/ }

const notInKeys = /[^A-Za-z0-9_.:-]/g

/** A host of any spelling as a part of a key: lower case, without brackets, the root dot, or labels that look like ids. */
const printHost = (scheme: string, host: string): string => {
  const explicit = host.toLowerCase().replace(defaultPort[scheme.toLowerCase()] ?? /$^/, "")
  return explicit
    .replaceAll(/[[\]]/g, "")
    .replace(/\.(?=:|$)/, "")
    .replaceAll(notInKeys, "_")
    .split(".")
    .map((label) => PolicyKey.isValid(label) ? label : "_")
    .join(".")
}

const hostOf = (url: string): string => {
  const { host = "", scheme = "" } = absolute.exec(url)?.groups ?? {}
  return host === "" ? "http" : printHost(scheme, host)
}

const pathOf = (url: string): string => {
  const path = absolute.exec(url)?.groups?.["path"] ?? url
  return path.startsWith("/") ? path : `/${path}`
}

// -----------------------------------------------------------------------------
// keys
// -----------------------------------------------------------------------------

/**
 * The host of the request, with its port where it is not the default one, and the method; `"http.GET"` where the request
 * has no host.
 *
 * **Example** (Hosts)
 *
 * ```ts
 * import { HttpKey } from "@rego/http"
 * import { HttpClientRequest } from "effect/http"
 *
 * HttpKey.hostAndMethod(HttpClientRequest.get("https://api.example.com/users/1")) // => "api.example.com.GET"
 * HttpKey.hostAndMethod(HttpClientRequest.post("http://127.0.0.1:8080/")) // => "127.0.0.1:8080.POST"
 * ```
 *
 * @category keys
 * @since 0.1.0
 */
export const hostAndMethod: HttpKey = (request) => `${hostOf(request.url)}.${request.method}`

/**
 * A name of yours and the method. Throws a `RangeError` for a name that is no key.
 *
 * @category keys
 * @since 0.1.0
 */
export const service = (name: string): HttpKey => {
  const prefix = PolicyKey.make(name)
  return (request) => `${prefix}.${request.method}`
}

interface Entry {
  readonly method: string
  readonly path: FindMyWay.PathInput
  readonly key: PolicyKey.PolicyKey
}

const readEntry = (route: string, key: string): Entry | string => {
  const { method = "", path = "" } = /^(?<method>\S+) (?<path>\/\S*)$/.exec(route)?.groups ?? {}
  if (!isHttpMethod(method)) return `${JSON.stringify(route)} must be a method in capitals, a space and a path`
  try {
    return { method, path: path as FindMyWay.PathInput, key: PolicyKey.make(key) }
  } catch (error) {
    return `${JSON.stringify(route)}: ${(error as Error).message}`
  }
}

/** Longer segments match no route, so that the router need not decode them. */
const maxParamLength = 4_096

/**
 * Keys by route; a request that fits no route gets its key from `otherwise`, which is `hostAndMethod` unless it is given.
 *
 * **Details**
 *
 * The path is the whole one, whatever the host: behind `prependUrl("https://api.test/v1")` the routes begin with `/v1`.
 * A literal segment counts more than `:name`, `:name` more than `*`. A trailing slash and capitals make no difference.
 *
 * Throws a `RangeError` that lists every route and every key that cannot be used.
 *
 * @category keys
 * @since 0.1.0
 */
export const routes = (
  table: Readonly<Record<Route, PolicyKey.Input>>,
  otherwise: HttpKey = hostAndMethod
): HttpKey => {
  const entries = Object.entries(table).map(([route, key]) => readEntry(route, key))
  const problems = entries.filter((entry) => typeof entry === "string")
  if (problems.length > 0) throw new RangeError(`HttpKey.routes: ${problems.join("; ")}`)
  const router = FindMyWay.make<PolicyKey.PolicyKey>({ maxParamLength })
  for (const entry of entries) if (typeof entry !== "string") router.on(entry.method, entry.path, entry.key)
  return (request) => router.find(request.method, pathOf(request.url))?.handler ?? otherwise(request)
}
