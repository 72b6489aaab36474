/**
 * How a document is kept: with the time it was saved, and a checksum that tells whether it is still what was saved.
 *
 * @internal
 */
import { Result, Schema } from "effect"
import { createHash } from "node:crypto"
import * as DocumentText from "./DocumentText.ts"

const format = 1

const Envelope = Schema.Struct({
  format: Schema.Literal(format),
  savedAt: Schema.Number.pipe(Schema.check(Schema.isFinite())),
  sha256: Schema.String,
  document: Schema.String
})

const decodeEnvelope = Schema.decodeUnknownResult(Envelope)

const checksum = (savedAt: number, document: string): string =>
  createHash("sha256").update(`${format} ${savedAt} ${document}`).digest("hex")

/** What surrounds a document, and what quotation of its text can add to it. */
export const maxEnvelope = ({ maxBytes }: { readonly maxBytes: number }): number => 6 * maxBytes + 1_024

export interface Saved {
  readonly json: unknown
  readonly savedAt: number
}

/** Fails with what is in the way: a document that has no JSON, or one that `decode` would refuse. */
export const encode = (
  { json, savedAt }: Saved,
  bounds: Required<{ [K in keyof DocumentText.Bounds]: number }>
): Result.Result<string, string> =>
  DocumentText.print(json).pipe(
    Result.flatMap((document) => Result.map(DocumentText.fromBytes(Buffer.from(document), bounds), () => document)),
    Result.mapBoth({
      onFailure: (rule) => `the document ${rule}`,
      onSuccess: (document) => JSON.stringify({ format, savedAt, sha256: checksum(savedAt, document), document })
    })
  )

/** Fails with what is wrong with the text; its content is not repeated. */
export const decode = (text: string, bounds: DocumentText.Bounds): Result.Result<Saved, string> =>
  Result.gen(function*() {
    const json = yield* Result.mapError(DocumentText.parse(text, bounds), () => "it is damaged: no JSON")
    const { document, savedAt, sha256 } = yield* Result.mapError(
      decodeEnvelope(json),
      () => "it is damaged: not what this library writes"
    )
    if (checksum(savedAt, document) !== sha256) return yield* Result.fail("it is damaged: the checksum is wrong")
    return { json: yield* DocumentText.parse(document, bounds), savedAt }
  })
