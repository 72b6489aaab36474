import { assert, describe, it } from "@effect/vitest"
import { PolicyDocument } from "@rego/core"
import { Effect, Exit, Fiber, Layer, Option, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as NodeSqlite from "../src/NodeSqlite.ts"
import * as PolicyHistory from "../src/PolicyHistory.ts"
import { document, history } from "./serverSupport.ts"
import { refusal } from "./support.ts"

const withDirectory = <A, E, R>(use: (directory: string) => Effect.Effect<A, E, R>) =>
  Effect.acquireUseRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "rego-history-"))),
    use,
    (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
  )

const revisionInForce = Effect.flatMap(
  PolicyHistory.PolicyHistory,
  (history) => Effect.map(history.current, (current) => Option.getOrUndefined(current)?.revision)
)

const publish = (json: unknown, expected: PolicyHistory.Expected = "any") =>
  Effect.flatMap(PolicyHistory.PolicyHistory, (history) => history.publish(json, expected))

const reasonOf = <A, R>(effect: Effect.Effect<A, PolicyHistory.HistoryError, R>) =>
  Effect.map(Effect.flip(effect), ({ reason }) => reason._tag)

describe("PolicyHistory", () => {
  it("reads its options at once, with every mistake", () => {
    refusal(() => PolicyHistory.layer({ keep: 0, judge: "all", size: 1 } as never), ["keep", "judge", "size"])
  })

  describe("etagOf", () => {
    it("is equal for equal documents, whatever the order of their fields", () => {
      const [a, b] = [`{"a":1,"b":{"c":[1,2],"d":null}}`, `{ "b": { "d": null, "c": [1, 2] }, "a": 1 }`]
      assert.strictEqual(PolicyHistory.etagOf(JSON.parse(a)), PolicyHistory.etagOf(JSON.parse(b)))
    })

    it("differs for documents that differ in a value, an order of a list or a key with a meaning", () => {
      const texts = [`{"a":1}`, `{"a":2}`, `{"a":"1"}`, `{"a":[1,2]}`, `{"a":[2,1]}`, `{"__proto__":1}`, `{}`, `null`]
      assert.strictEqual(new Set(texts.map((text) => PolicyHistory.etagOf(JSON.parse(text)))).size, texts.length)
    })
  })

  describe("publish", () => {
    it.effect("lets one of many win who have all seen the same document, however long each is judged", () => {
      const judge: PolicyHistory.Judge = (json) => Effect.andThen(Effect.yieldNow, PolicyDocument.decode(json))
      return Effect.gen(function*() {
        const first = yield* publish(document("1"), "absent")
        const exits = yield* Effect.forEach(
          Array.from({ length: 20 }, (_, i) => document(`2.${i}`)),
          (json) => Effect.exit(publish(json, [first.publication.etag])),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
        const history = yield* PolicyHistory.PolicyHistory
        assert.strictEqual((yield* history.list(100)).length, 2)
      }).pipe(Effect.provide(history({ judge })))
    })

    it.effect("publishes the first document only where none is, and only to who expects none", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* reasonOf(publish(document("1"), "any")), "Conflict")
        yield* publish(document("1"), "absent")
        assert.strictEqual(yield* reasonOf(publish(document("2"), "absent")), "Conflict")
      }).pipe(Effect.provide(history())))

    it.effect("judges a document against the one in force", () => {
      const judged: Array<string | undefined> = []
      const judge: PolicyHistory.Judge = (json, current) => {
        judged.push(Option.getOrUndefined(current)?.revision)
        return PolicyDocument.decode(json)
      }
      return Effect.gen(function*() {
        yield* publish(document("1"), "absent")
        yield* publish(document("2"))
        assert.deepStrictEqual(judged, [undefined, "1"])
      }).pipe(Effect.provide(history({ judge })))
    })

    it.effect("tells who listens, and never loses the last document for who is slow", () =>
      Effect.gen(function*() {
        const history = yield* PolicyHistory.PolicyHistory
        yield* publish(document("1"), "absent")
        const seen = yield* history.changes.pipe(
          Stream.map((current) => Option.getOrUndefined(current)?.revision),
          Stream.mapEffect((revision) => Effect.as(Effect.yieldNow, revision)),
          Stream.takeUntil((revision) => revision === "50"),
          Stream.runCollect,
          Effect.forkChild({ startImmediately: true })
        )
        for (let i = 2; i <= 50; i++) yield* publish(document(String(i)))
        assert.strictEqual((yield* Fiber.join(seen)).at(-1), "50")
      }).pipe(Effect.provide(history())))

    it.effect("keeps the document in force when the storage fails, and goes on when it is back", () =>
      Effect.gen(function*() {
        yield* publish(document("1"), "absent")
        const sql = yield* SqlClient.SqlClient
        yield* sql`CREATE TRIGGER full BEFORE INSERT ON publications BEGIN SELECT RAISE(ABORT, 'disk full'); END`
        assert.strictEqual(yield* reasonOf(publish(document("2"))), "StorageFailed")
        assert.strictEqual(yield* revisionInForce, "1")
        yield* sql`DROP TRIGGER full`
        yield* publish(document("2"))
        assert.strictEqual(yield* revisionInForce, "2")
      }).pipe(
        Effect.provide(
          PolicyHistory.layer().pipe(Layer.provideMerge(NodeSqlite.layer(":memory:")))
        )
      ))
  })

  it.effect("keeps the last publications and no more", () =>
    Effect.gen(function*() {
      const history = yield* PolicyHistory.PolicyHistory
      yield* publish(document("1"), "absent")
      for (let i = 2; i <= 10; i++) yield* publish(document(String(i)))
      const kept = (yield* history.list(100)).map(({ revision }) => revision)
      assert.deepStrictEqual(kept, ["10", "9", "8"])
      assert.strictEqual(yield* reasonOf(history.find("7")), "UnknownRevision")
      assert.strictEqual(yield* reasonOf(history.rollback("7", "any")), "UnknownRevision")
    }).pipe(Effect.provide(history({ keep: 3 }))))

  it.effect("judges a document again before it is put in force again", () => {
    let strict = false
    const judge: PolicyHistory.Judge = (json) =>
      PolicyDocument.decode(strict ? { ...(json as object), schemaVersion: "2.0" } : json)
    return Effect.gen(function*() {
      const history = yield* PolicyHistory.PolicyHistory
      yield* publish(document("1"), "absent")
      yield* publish(document("2"))
      strict = true
      assert.strictEqual(yield* reasonOf(history.rollback("1", "any")), "Refused")
      assert.strictEqual(yield* revisionInForce, "2")
    }).pipe(Effect.provide(history({ judge })))
  })

  describe("on disk", () => {
    it.effect("is there again after a restart", () =>
      withDirectory((directory) =>
        Effect.gen(function*() {
          const file = join(directory, "rego.sqlite")
          const opened = <A, E>(effect: Effect.Effect<A, E, PolicyHistory.PolicyHistory>) =>
            Effect.provide(effect, history({}, file), { local: true })
          yield* opened(Effect.andThen(publish(document("1"), "absent"), publish(document("2"))))
          assert.strictEqual(yield* opened(revisionInForce), "2")
          yield* opened(Effect.flatMap(PolicyHistory.PolicyHistory, (history) => history.rollback("1", "any")))
          assert.strictEqual(yield* opened(revisionInForce), "1")
        })
      ))

    it.effect("is open in one place at a time", () =>
      withDirectory((directory) => {
        const file = join(directory, "rego.sqlite")
        const open = Effect.scoped(Layer.build(Layer.fresh(NodeSqlite.layer(file))))
        return Effect.gen(function*() {
          yield* Effect.scoped(Effect.gen(function*() {
            yield* Layer.build(NodeSqlite.layer(file))
            const error = yield* Effect.flip(open)
            assert.match(error.message, /database is locked/)
          }))
          yield* open
        })
      }))
  })
})
