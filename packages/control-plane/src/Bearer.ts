/**
 * Bearer tokens: who may read, who may write.
 *
 * @internal
 */
import { Redacted } from "effect"
import { createHash, timingSafeEqual } from "node:crypto"

export interface Tokens {
  /** who presents it may read; everybody may when there is none */
  readonly read?: Redacted.Redacted | undefined
  /** who presents it may read and write; nobody may write when there is none */
  readonly write?: Redacted.Redacted | undefined
}

export type Verdict = "granted" | "unknown" | "forbidden"

const digest = (text: string): Buffer => createHash("sha256").update(text).digest()

/** Digests have one length, so that neither the time nor the result says how much of a guess was right. */
export const isSame = (expected: Redacted.Redacted, presented: string): boolean =>
  timingSafeEqual(digest(Redacted.value(expected)), digest(presented))

const presentedIn = (authorization: string | undefined): string | undefined =>
  /^Bearer +(?<token>[\w.~+/-]+=*) *$/i.exec(authorization ?? "")?.groups?.["token"]

export const judge = (tokens: Tokens, need: "read" | "write", authorization: string | undefined): Verdict => {
  const presented = presentedIn(authorization)
  const mayWrite = presented !== undefined && tokens.write !== undefined && isSame(tokens.write, presented)
  const mayRead = presented !== undefined && tokens.read !== undefined && isSame(tokens.read, presented)
  if (mayWrite || (need === "read" && (mayRead || tokens.read === undefined))) return "granted"
  return need === "write" && (mayRead || tokens.write === undefined) ? "forbidden" : "unknown"
}
