/** A collector on a free port of this machine that takes OTLP/JSON and keeps it. */
import { Effect } from "effect"
import { createServer } from "node:http"
import type { IncomingMessage } from "node:http"
import type { AddressInfo } from "node:net"

export type Value = {
  readonly stringValue?: string
  readonly intValue?: number | string
  readonly doubleValue?: number
  readonly boolValue?: boolean
}

interface KeyValue {
  readonly key: string
  readonly value: Value
}

export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>

export const attributesOf = (list: ReadonlyArray<KeyValue>): Attributes =>
  Object.fromEntries(
    list.map(({ key, value: { boolValue, doubleValue, intValue, stringValue } }) => [
      key,
      stringValue ?? boolValue ?? doubleValue ?? (intValue === undefined ? undefined : Number(intValue))
    ])
  )

export interface Point {
  readonly attributes: ReadonlyArray<KeyValue>
  readonly asDouble?: number
  readonly asInt?: number | string
  readonly count?: number
  readonly sum?: number
  readonly bucketCounts?: ReadonlyArray<number>
  readonly explicitBounds?: ReadonlyArray<number>
}

export interface Metric {
  readonly name: string
  readonly unit: string
  readonly description: string
  readonly sum?: {
    readonly isMonotonic: boolean
    readonly aggregationTemporality: number
    readonly dataPoints: Array<Point>
  }
  readonly gauge?: { readonly dataPoints: Array<Point> }
  readonly histogram?: { readonly aggregationTemporality: number; readonly dataPoints: Array<Point> }
}

export interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: ReadonlyArray<KeyValue>
  readonly events: ReadonlyArray<{ readonly name: string; readonly attributes: ReadonlyArray<KeyValue> }>
  readonly links: ReadonlyArray<{ readonly spanId: string; readonly attributes: ReadonlyArray<KeyValue> }>
  readonly status: { readonly code: number; readonly message?: string }
}

interface Body {
  readonly resourceMetrics?: ReadonlyArray<
    { readonly scopeMetrics: ReadonlyArray<{ readonly metrics: ReadonlyArray<Metric> }> }
  >
  readonly resourceSpans?: ReadonlyArray<
    { readonly scopeSpans: ReadonlyArray<{ readonly spans: ReadonlyArray<Span> }> }
  >
}

export interface Collector {
  readonly url: string
  /** of the last export */
  readonly metrics: () => ReadonlyArray<Metric>
  readonly spans: () => ReadonlyArray<Span>
  /** requests that it could not read */
  readonly problems: ReadonlyArray<string>
}

const bodyOf = async (request: IncomingMessage): Promise<string> => {
  const parts: Array<Buffer> = []
  for await (const part of request) parts.push(part as Buffer)
  return Buffer.concat(parts).toString("utf8")
}

const paths: ReadonlySet<string | undefined> = new Set(["/v1/metrics", "/v1/traces", "/v1/logs"])

export const make = Effect.gen(function*() {
  const bodies: Array<Body> = []
  const problems: Array<string> = []
  const take = async (request: IncomingMessage): Promise<number> => {
    if (request.method !== "POST" || !paths.has(request.url)) throw new Error(`${request.method} ${request.url}`)
    if (request.headers["content-type"] !== "application/json") {
      throw new Error(`no JSON: ${request.headers["content-type"]}`)
    }
    bodies.push(JSON.parse(await bodyOf(request)))
    return 200
  }
  const server = createServer((request, response) => {
    take(request).catch((error: unknown) => {
      problems.push(String(error))
      return 400
    }).then((status) => response.writeHead(status, { "content-type": "application/json" }).end("{}"))
  })
  yield* Effect.acquireRelease(
    Effect.promise(() => new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))),
    () =>
      Effect.promise(() => {
        server.closeAllConnections()
        return new Promise<void>((resolve) => server.close(() => resolve()))
      })
  )
  const collector: Collector = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    metrics: () =>
      bodies.findLast(({ resourceMetrics }) => resourceMetrics !== undefined)?.resourceMetrics!.flatMap((resource) =>
        resource.scopeMetrics.flatMap(({ metrics }) => metrics)
      ) ?? [],
    spans: () =>
      bodies.flatMap(({ resourceSpans = [] }) =>
        resourceSpans.flatMap((resource) => resource.scopeSpans.flatMap(({ spans }) => spans))
      ),
    problems
  }
  return collector
})
