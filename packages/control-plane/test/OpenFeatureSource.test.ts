/**
 * With the real SDK, and its provider in memory or one that fails.
 */
import { assert, describe, it } from "@effect/vitest"
import type { JsonValue, Provider, ResolutionDetails } from "@openfeature/server-sdk"
import {
  ErrorCode,
  OpenFeature,
  OpenFeatureEventEmitter,
  ProviderEvents,
  TypedInMemoryProvider
} from "@openfeature/server-sdk"
import { Effect } from "effect"
import * as OpenFeatureSource from "../src/OpenFeatureSource.ts"
import { aWhile, eventually, listen, refusal } from "./support.ts"

const documentOf = (revision: string) => ({ schemaVersion: "1.0", revision, policies: {} })
const revisions = (documents: ReadonlyArray<unknown>) => documents.map((it) => (it as { revision: string }).revision)

const flag = "rego-policies"

const flagsOf = (value: JsonValue, disabled = false) => ({
  [flag]: { disabled, variants: { on: value as { [key: string]: JsonValue } }, defaultVariant: "on" as const }
})

const backoff = { initial: "20 millis", max: "40 millis" } as const
const pollOnly = { interval: "20 millis", backoff } as const
const eventsOnly = { interval: "1 hour", timeout: "50 millis", backoff } as const

let domains = 0

/** A domain of its own, whose provider leaves with the test. */
const withProvider = (provider: Provider) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const domain = `test-${++domains}`
        await OpenFeature.setProviderAndWait(domain, provider).catch(() => {})
        return domain
      }),
      (domain) => Effect.promise(() => OpenFeature.setProviderAndWait(domain, new TypedInMemoryProvider()))
    ),
    (domain) => ({ domain, client: OpenFeature.getClient(domain) })
  )

/** A provider that answers as it is told. */
class Scripted implements Provider {
  readonly metadata = { name: "scripted" }
  readonly runsOn = "server"
  readonly events = new OpenFeatureEventEmitter()
  evaluations = 0
  answer: () => Promise<ResolutionDetails<JsonValue>>
  constructor(answer: Scripted["answer"]) {
    this.answer = answer
  }
  private readonly evaluate = () => {
    this.evaluations++
    return this.answer() as Promise<never>
  }
  readonly resolveBooleanEvaluation = this.evaluate
  readonly resolveStringEvaluation = this.evaluate
  readonly resolveNumberEvaluation = this.evaluate
  readonly resolveObjectEvaluation = this.evaluate
}

describe("OpenFeatureSource", () => {
  it.live("finds a document, and each one that the provider announces", () =>
    Effect.gen(function*() {
      const provider = new TypedInMemoryProvider(flagsOf(documentOf("1")))
      const { client } = yield* withProvider(provider)
      const heard = yield* listen(OpenFeatureSource.make({ flag, client, ...eventsOnly }))
      yield* eventually("the first document", () => heard.documents.length === 1)
      for (const revision of ["2", "3"]) {
        provider.putConfiguration(flagsOf(documentOf(revision)))
        yield* eventually(`document ${revision}`, () => heard.documents.length === Number(revision))
      }
      assert.deepStrictEqual(revisions(heard.documents), ["1", "2", "3"])
      assert.deepStrictEqual(heard.failures, [])
    }))

  it.live("finds a document that nobody announced", () =>
    Effect.gen(function*() {
      const provider = new Scripted(async () => ({ value: documentOf("1") }))
      const { client } = yield* withProvider(provider)
      const heard = yield* listen(OpenFeatureSource.make({ flag, client, ...pollOnly }))
      yield* eventually("the first document", () => heard.documents.length === 1)
      provider.answer = async () => ({ value: documentOf("2") })
      yield* eventually("the second document", () => heard.documents.length === 2)
      yield* eventually("unchanged", () => heard.last?._tag === "Unchanged")
    }))

  it.live("evaluates the flag for the context it was given", () =>
    Effect.gen(function*() {
      const provider = new TypedInMemoryProvider({
        [flag]: {
          disabled: false,
          variants: { here: documentOf("here"), there: documentOf("there") },
          defaultVariant: "there",
          contextEvaluator: (context) => context["region"] === "eu" ? "here" : "there"
        }
      })
      const { client } = yield* withProvider(provider)
      const heard = yield* listen(OpenFeatureSource.make({ flag, client, context: { region: "eu" }, ...pollOnly }))
      yield* eventually("the document", () => heard.documents.length === 1)
      assert.deepStrictEqual(revisions(heard.documents), ["here"])
    }))

  it.live("waits for a provider that is set later", () =>
    Effect.gen(function*() {
      const domain = `test-${++domains}`
      const client = OpenFeature.getClient(domain)
      const heard = yield* listen(
        OpenFeatureSource.make({ flag, client, ...eventsOnly, backoff: { initial: "1 hour", max: "1 hour" } })
      )
      yield* eventually("a failure", () => heard.failures.length > 0)
      yield* Effect.promise(() =>
        OpenFeature.setProviderAndWait(domain, new TypedInMemoryProvider(flagsOf(documentOf("1"))))
      )
      yield* eventually("the document", () => heard.documents.length === 1)
    }))

  const circular: Record<string, JsonValue> = {}
  circular["self"] = circular

  let deep: JsonValue = {}
  for (let i = 0; i < 10_000; i++) deep = { deep }

  const faults: ReadonlyArray<readonly [string, Scripted["answer"], unknown]> = [
    ["is missing", async () => ({ value: {}, errorCode: ErrorCode.FLAG_NOT_FOUND, errorMessage: "s3cret" }), {
      _tag: "NotFound",
      detail: "the evaluation failed (FLAG_NOT_FOUND)"
    }],
    ["is of another type", async () => ({ value: {}, errorCode: ErrorCode.TYPE_MISMATCH }), {
      _tag: "Malformed",
      detail: "the evaluation failed (TYPE_MISMATCH)"
    }],
    ["cannot be evaluated yet", async () => ({ value: {}, errorCode: ErrorCode.PROVIDER_NOT_READY }), {
      _tag: "Unavailable",
      detail: "the evaluation failed (PROVIDER_NOT_READY)"
    }],
    ["makes the provider throw", () => Promise.reject(new Error("s3cret")), {
      _tag: "Unavailable",
      detail: "the evaluation failed (GENERAL)"
    }],
    ["has no value", async () => ({ value: null }), {
      _tag: "NotFound",
      detail: "the flag is disabled, or has no value"
    }],
    ["has a value without JSON", async () => ({ value: circular }), {
      _tag: "Malformed",
      detail: "the value has no JSON"
    }],
    ["has a value that makes no JSON of itself", async () => ({ value: { toJSON: () => undefined } as never }), {
      _tag: "Malformed",
      detail: "the value has no JSON"
    }],
    ["has a value that is too large", async () => ({ value: { a: "x".repeat(2_000_000) } }), {
      _tag: "TooLarge",
      limit: 1_048_576
    }],
    ["has a value that is nested too deep", async () => ({ value: JSON.parse("[".repeat(100) + "]".repeat(100)) }), {
      _tag: "Malformed",
      detail: "is nested deeper than 32 levels"
    }],
    ["has a value deeper than the stack", async () => ({ value: deep }), undefined]
  ]
  for (const [what, answer, expected] of faults) {
    it.live(`says so when the flag ${what}, and finds the document later`, () =>
      Effect.gen(function*() {
        const provider = new Scripted(answer)
        const { client } = yield* withProvider(provider)
        const heard = yield* listen(OpenFeatureSource.make({ flag, client, ...pollOnly }))
        yield* eventually("a failure", () => heard.failures.length > 0)
        if (expected === undefined) assert.strictEqual(heard.failures[0]?._tag, "Malformed")
        else assert.deepStrictEqual(heard.failures[0], expected)
        assert.notInclude(JSON.stringify(heard.found), "s3cret")
        provider.answer = async () => ({ value: documentOf("1") })
        yield* eventually("the document", () => heard.documents.length === 1)
      }))
  }

  it.live("does not take the default value of a disabled flag for a document", () =>
    Effect.gen(function*() {
      const { client } = yield* withProvider(new TypedInMemoryProvider(flagsOf(documentOf("1"), true)))
      const heard = yield* listen(OpenFeatureSource.make({ flag, client, ...pollOnly }))
      yield* eventually("a failure", () => heard.failures.length > 0)
      assert.deepStrictEqual(heard.documents, [])
    }))

  it.live("takes a stale document, and says that it is stale", () =>
    Effect.gen(function*() {
      const provider = new Scripted(async () => ({ value: documentOf("1"), reason: "STALE" }))
      const { client } = yield* withProvider(provider)
      const heard = yield* listen(OpenFeatureSource.make({ flag, client, ...pollOnly }))
      yield* eventually("failures", () => heard.failures.length > 1)
      assert.deepStrictEqual(heard.found.slice(0, 3).map(({ _tag }) => _tag), ["Document", "Failed", "Failed"])
      assert.deepStrictEqual(heard.failures[0], {
        _tag: "Unavailable",
        detail: "the values of the provider are stale"
      })
      provider.answer = async () => ({ value: documentOf("1") })
      yield* eventually("unchanged", () => heard.last?._tag === "Unchanged")
    }))

  it.live("hears that the provider has lost its source, and that it is back", () =>
    Effect.gen(function*() {
      const provider = new Scripted(async () => ({ value: documentOf("1") }))
      const { client } = yield* withProvider(provider)
      const heard = yield* listen(OpenFeatureSource.make({ flag, client, ...eventsOnly }))
      yield* eventually("the document", () => heard.documents.length === 1)
      provider.events.emit(ProviderEvents.Stale)
      yield* eventually("a failure", () => heard.last?._tag === "Failed")
      provider.events.emit(ProviderEvents.Ready)
      yield* eventually("unchanged", () => heard.last?._tag === "Unchanged")
    }))

  it.live("evaluates a flag once at a time, however long the provider takes", () =>
    Effect.gen(function*() {
      const provider = new Scripted(() => new Promise(() => {}))
      const { client } = yield* withProvider(provider)
      const heard = yield* listen(OpenFeatureSource.make({ flag, client, ...pollOnly, timeout: "10 millis" }))
      yield* eventually("failures", () => heard.failures.length > 4)
      assert.deepStrictEqual(heard.failures[0], { _tag: "Unavailable", detail: "no answer in time" })
      assert.strictEqual(provider.evaluations, 1)
    }))

  it.live("takes its handlers away when its scope closes", () =>
    Effect.gen(function*() {
      const provider = new Scripted(async () => ({ value: documentOf("1") }))
      const { client } = yield* withProvider(provider)
      yield* Effect.scoped(Effect.gen(function*() {
        const heard = yield* listen(OpenFeatureSource.make({ flag, client, ...eventsOnly }))
        yield* eventually("the document", () => heard.documents.length === 1)
        assert.strictEqual(client.getHandlers(ProviderEvents.ConfigurationChanged).length, 1)
      }))
      yield* aWhile
      for (const event of Object.values(ProviderEvents)) assert.strictEqual(client.getHandlers(event).length, 0)
    }))

  it("reads its options at once, with every mistake, and without what a client knows", () => {
    const wrong = { flag: "", client: { key: "s3cret" }, interval: 0, timeout: Number.NaN, flags: 1 }
    const message = refusal(() => OpenFeatureSource.layer(wrong as never), [
      "flag",
      "client",
      "interval",
      "timeout",
      "flags"
    ])
    assert.notInclude(message, "s3cret")
  })
})
