import { assert, describe, it } from "@effect/vitest"
import * as Core from "@rego/core"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { apiOf, exportsOf } from "./house.ts"

const sourceOf = (module: string): string => readFileSync(join(import.meta.dirname, `../src/${module}.ts`), "utf8")

describe("API", () => {
  // a name that comes, goes or changes place is a change of the API: it belongs into this list and into the changelog
  it("has these names", () => {
    assert.deepStrictEqual(
      apiOf(Object.keys(Core), sourceOf),
      {
        Attempt: {
          values: "CurrentAttempt annotate format",
          types: "Around Attempt Id"
        },
        Backoff: {
          values: "Backoff BackoffFromJson constant decorrelated exponential isBackoff none toSchedule",
          types: "Backoff Constant Exponential Input Jitter None"
        },
        Budget: {
          values:
            "RatioOptions adaptiveThrottle all child concurrency layer layers none ratio successTokens tokenBucket unlimited",
          types: "Budget Call Decision Make Named Permit RatioOptions Request Scoping"
        },
        Callback: {
          values: "guard",
          types: "Guard"
        },
        Classifier: {
          values:
            "byTag causesOf findFailure fromPredicate fromProtocol layer make never orElse sql typedFailures wasRetried",
          types: "Any Cases Classifier Named Protocol"
        },
        Deadline: {
          values: "CurrentDeadline none remaining withDeadline",
          types: "Deadline"
        },
        Explanation: {
          values: "make",
          types: "BudgetFacts Explanation Field Options Outage Warning Worst"
        },
        Hedge: {
          values: "Trigger TriggerFromJson after isTrigger layer maxExtraLoad quantile toSchedule",
          types: "After MaxExtraLoad Named Quantile State Statistics Trigger"
        },
        LastKnownGood: {
          values: "LastKnownGood StoreError",
          types: "Saved"
        },
        Latency: {
          values: "makeUnsafe",
          types: "Latency Snapshot"
        },
        Observer: {
          values: "CurrentObservers flush layer make recent spans statistics",
          types: "Observer Recent RecentCall RecentFilter RecentOptions Spans Statistics"
        },
        Outcome: {
          values: "abort isOutcome nonRetryable retryable success",
          types: "Abort Attributes NonRetryable Outcome Retryable Success"
        },
        Policy: {
          values: "PolicyInvalid backgroundJob database defaults http isPolicy llm lowLatency make",
          types: "BudgetInput HedgeInput Input Issue Names Policy RetryInput TimeoutInput"
        },
        PolicyDocument: {
          values: "Budget Entry PolicyDocument Switch clamp decode diff encode guard jsonSchema policyOf",
          types: "Entry PolicyDocument Switch"
        },
        PolicyKey: {
          values: "isValid make namespace overflow overflowOf problems",
          types: "Input PolicyKey"
        },
        PolicyLayer: {
          values: "defaults fetch fromDocument live make",
          types: "FetchOptions Limits LiveOptions OnMissing Options"
        },
        PolicyProvider: {
          values: "PolicyProvider around render renderChange",
          types:
            "Change Difference KeyStatistics Overridden Override OverrideOptions PolicyChange PolicyStatus Rejection SwitchedOff"
        },
        PolicyReview: {
          values: "diff formatIssue formatPath review reviewEffect",
          types: "Diff KeysChange Options Review Warning"
        },
        PolicySource: {
          values: "PolicySource SourceError document failed make unchanged",
          types: "Clamped Found Reason Report"
        },
        Rego: {
          values: "makeResilient makeResilientService resilient resilientService resilientWithTimeline",
          types: "MethodName Options Resilient ResilientService ServiceOptions"
        },
        RegoError: {
          values: "RegoError isRegoError",
          types: "AdmissionDenied AttemptTimedOut DeadlineExceeded PolicyMissing Reason"
        },
        RegoLogs: {
          values: "layer make",
          types: "Level Options"
        },
        RegoMetrics: {
          values: "instruments layer make prometheusName",
          types: "Instrument Options"
        },
        Timeline: {
          values:
            "AttemptRecord Decision DenialReason Event StopReason Timeline TimelineInvalid capture captureWith fromCause fromJson fromSpans jsonSchema render svgStyle toJson toSvg",
          types: "CaptureOptions Decision DenialReason Event SpanLike StopReason"
        }
      }
    )
  })

  it("is read from the sources as it is at run time", () => {
    for (const [module, names] of Object.entries(Core)) {
      const { internal, values } = exportsOf(sourceOf(module))
      assert.deepStrictEqual(Object.keys(names).toSorted(), [...values, ...internal].toSorted(), module)
    }
  })

  it("consists of modules that say since when they are there", () => {
    for (const module of Object.keys(Core)) assert.match(sourceOf(module), /@since \d+\.\d+\.\d+/, module)
  })

  it("notices a name that is new, also one that another module has made, and leaves internal ones out", () => {
    const source =
      "export const make = 1\n\n/** @internal */\nexport const secret = 1\n\n/** x */\nexport interface Options {}\n" +
      "export {\n  /** a, b */\n  Failed\n} from \"./A.ts\"\nexport type { Answer, Old as New } from \"./B.ts\"\n"
    assert.deepStrictEqual(exportsOf(source), {
      values: ["Failed", "make"],
      internal: ["secret"],
      types: ["Answer", "New", "Options"]
    })
  })
})
