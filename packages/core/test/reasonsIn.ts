/** The reasons of outcomes that are written in the sources of a package. */
import { readdirSync, readFileSync } from "node:fs"

/** Of budgets, hedges and stops, which have lists of their own, and of errors that are no outcomes. */
const elsewhere: ReadonlySet<string> = new Set([
  "AdaptiveThrottle.ts",
  "Budget.ts",
  "BudgetShared.ts",
  "ConcurrencyBudget.ts",
  "GroupHedger.ts",
  "MetricReasons.ts",
  "Questions.ts",
  "RatioBudget.ts",
  "Reasons.ts",
  "SuccessTokens.ts",
  "TokenBucket.ts"
])

const written = /(?:\breason: |\bnever\(|\bperhaps\()"([a-z0-9_]+)"|"(sql_[a-z_]+)"/g

const withoutComments = (text: string): string => text.replaceAll(/\/\*[^]*?\*\/|^\s*\/\/.*$/gm, "")

export const reasonsIn = (folder: URL): ReadonlySet<string> =>
  new Set(
    readdirSync(folder).filter((name) => name.endsWith(".ts") && !elsewhere.has(name)).flatMap((name) => {
      const text = withoutComments(readFileSync(new URL(`${folder.href}/${name}`), "utf8"))
      return Array.from(text.matchAll(written), ([, plain, sql]) => plain ?? sql!)
    })
  )
