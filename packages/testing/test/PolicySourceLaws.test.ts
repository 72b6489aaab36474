import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { PolicySource } from "@rego/core"
import { PolicySourceLaws } from "@rego/testing"
import { Context, Effect, Layer, Queue, Stream } from "effect"
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as FileSource from "../../control-plane/src/FileSource.ts"
import type { BrokenPart } from "./support.ts"
import { holds, notices } from "./support.ts"

/** Where documents of these tests come from. */
class Origin extends Context.Service<Origin, {
  json: unknown
  up: boolean
  readonly changed: Queue.Queue<void>
}>()("test/Origin") {
  static readonly layer = Layer.effect(
    Origin,
    Effect.map(Queue.unbounded<void>(), (changed) => Origin.of({ json: { revision: "0" }, up: true, changed }))
  )
}

const failure = (detail: string) =>
  PolicySource.failed(new PolicySource.SourceError({ source: "own", reason: { _tag: "Unavailable", detail } }))

const look = ({ json, up }: Origin["Service"]): PolicySource.Found => up ? PolicySource.document(json) : failure("down")

interface Parts {
  readonly name?: string
  readonly found?: (origin: Origin["Service"]) => Stream.Stream<PolicySource.Found>
  readonly report?: (report: PolicySource.Report) => Effect.Effect<void>
}

/** Looks every second. */
const polling = (origin: Origin["Service"]): Stream.Stream<PolicySource.Found> =>
  Stream.concat(
    Stream.fromEffect(Effect.sync(() => look(origin))),
    Stream.fromEffectRepeat(Effect.delay(Effect.sync(() => look(origin)), "1 second"))
  )

const source = ({ found = polling, name = "own", report }: Parts = {}) =>
  Layer.effect(
    PolicySource.PolicySource,
    Effect.map(Origin, (origin) => PolicySource.make({ name, found: Stream.suspend(() => found(origin)), report }))
  ).pipe(Layer.provideMerge(Origin.layer))

const change = (f: (origin: Origin["Service"]) => void) => Effect.map(Origin, f)

const world = {
  publish: (json: unknown) => change((origin) => void (origin.json = json)),
  down: change((origin) => void (origin.up = false)),
  up: change((origin) => void (origin.up = true)),
  secrets: ["s3cret"]
} as const

const suiteOf = (parts?: Parts) => PolicySourceLaws.make<Origin>(source(parts), world)

const [says, goesOn, again, reports, secrets, finds, back] = suiteOf().map(({ name }) => name)

const broken = (what: string, breaks: string, parts: Parts): BrokenPart => ({
  what,
  breaks: [breaks],
  suite: suiteOf(parts)
})

const alone = (found: PolicySource.Found) => Stream.concat(Stream.make(found), Stream.never)

describe("PolicySourceLaws", () => {
  holds("a source that looks every second", suiteOf())

  describe("laws of FileSource, with the live clock", () => {
    const file = Layer.effectContext(Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "rego-laws-"))),
        (path) => Effect.sync(() => rmSync(path, { recursive: true }))
      )
      const path = join(folder, "policies.json")
      const write = (json: unknown) => {
        writeFileSync(`${path}.new`, JSON.stringify(json))
        renameSync(`${path}.new`, path)
      }
      write({ revision: "0" })
      const made = yield* FileSource.make({ path, interval: "20 millis", watch: false, settle: "20 millis" })
      return Context.make(PolicySource.PolicySource, made).pipe(Context.add(File, { path, write }))
    })).pipe(Layer.provide(NodeServices.layer))
    const suite = PolicySourceLaws.make<File>(file, {
      clock: "live",
      within: "2 seconds",
      publish: (json) => Effect.map(File, ({ write }) => write(json)),
      down: Effect.map(File, ({ path }) => rmSync(path)),
      up: Effect.map(File, ({ write }) => write({ revision: "0" }))
    })
    for (const law of suite) it.live(law.name, () => law.run)
  })

  notices(suiteOf(), [
    broken("says nothing", says!, { found: () => Stream.never }),
    broken("begins with unchanged", says!, { found: () => alone(PolicySource.unchanged) }),
    broken("ends", goesOn!, { found: (origin) => Stream.make(look(origin)) }),
    broken("dies", goesOn!, { found: (origin) => Stream.concat(Stream.make(look(origin)), Stream.die("bug")) }),
    broken("does not stop", again!, {
      found: (origin) =>
        Stream.concat(Stream.make(look(origin)), Stream.fromEffect(Effect.uninterruptible(Effect.never)))
    }),
    broken("can be run once", again!, {
      found: (() => {
        let runs = 0
        return (origin) => runs++ === 0 ? alone(look(origin)) : Stream.never
      })()
    }),
    broken("dies of a report", reports!, { report: () => Effect.die("report") }),
    broken("never comes back from a report", reports!, { report: () => Effect.never }),
    broken("has no name", secrets!, { name: " " }),
    broken("shows a secret in its name", secrets!, { name: "https://user:s3cret@policies.example" }),
    broken("shows a secret in an error", secrets!, {
      found: (origin) => Stream.map(polling(origin), (found) => found._tag === "Failed" ? failure("s3cret") : found)
    }),
    broken("never looks again", finds!, { found: (origin) => alone(look(origin)) }),
    broken("changes what it found", finds!, {
      found: (origin) =>
        Stream.map(
          polling(origin),
          (found) => found._tag === "Document" ? PolicySource.document({ ...found.json as object, extra: true }) : found
        )
    }),
    broken("says nothing while its origin is down", back!, {
      found: (origin) => Stream.filter(polling(origin), ({ _tag }) => _tag !== "Failed")
    }),
    broken("stays down", back!, {
      found: (origin) => {
        let down = false
        return Stream.map(polling(origin), (found) => {
          down ||= found._tag === "Failed"
          return down ? failure("down") : found
        })
      }
    })
  ])

  it("has laws for what can be done to its origin only where it is told how", () => {
    assert.strictEqual(PolicySourceLaws.make(source()).length, suiteOf().length - 2)
    assert.throws(() => PolicySourceLaws.make(source(), { down: Effect.void }), "down and up must be given together")
  })
})

class File
  extends Context.Service<File, { readonly path: string; readonly write: (json: unknown) => void }>()("test/File")
{}
