/**
 * Which tests a module is mutated against: those of its own name, and these. All tests of core would find a little more, at
 * minutes for each mutant; what a shorter list misses shows as a survivor, and is judged there.
 */
const budgets = ["Budget", "BudgetStates", "scenario/budgets"]
const driver = ["Executor", "Rego", "driver/traps", "driver/promptness", "driver/interruption", "driver/resources"]
const hedging = ["GroupHedger", "driver/hedging", "driver/hedging-traps", "scenario/hedging"]
const live = ["LivePolicies", "PolicyDocument", "scenario/live-documents"]
const events = ["Observer", "driver/events", "driver/spans", "RegoMetrics"]
const switches = ["KillSwitch", "Overrides"]
/** of everything that runs whole calls */
const calls = [
  ...driver,
  ...hedging,
  ...events,
  ...switches,
  "PolicyLayer",
  "Retry",
  "driver/attempt-is-a-fiber",
  "scenario/budgets",
  "scenario/capture",
  "scenario/nested",
  "scenario/upstream",
  "scenario/upstream-defects"
]
const layers = ["PolicyLayer", "PolicyProvider", "Rego"]

const others: Readonly<Record<string, ReadonlyArray<string>>> = {
  AdaptiveThrottle: budgets,
  Advice: ["Explanation"],
  Apart: ["LiveLayer", "LivePolicies", "scenario/live-documents"],
  AsyncContext: ["Timer", "driver/traps", "driver/attempt-is-a-fiber", "Observer"],
  Attempt: ["driver/attempt-is-a-fiber", "scenario/nested", "scenario/hedging", "Rego"],
  AttemptRun: calls,
  Backoff: ["Retry", "Steps", "Policy"],
  Between: calls,
  Binder: [
    "Hedge",
    ...layers,
    ...switches,
    "PolicySet",
    "LivePolicies",
    "RegoMetrics",
    "Executor",
    ...live,
    "driver/hedging",
    "scenario/budgets"
  ],
  Bindings: [...layers, ...switches, ...events, "LivePolicies", "BudgetStates", "Executor", "driver/traps"],
  BootChecks: [...layers, "PolicySet", "PolicyDocument", "Explanation", "PolicyReview", "LivePolicies"],
  Bucket: ["TokenBucket", "RatioBudget", "BudgetStates", "BudgetModel"],
  Budget: [
    ...budgets,
    "TokenBucket",
    "RatioBudget",
    "SuccessTokens",
    "ConcurrencyBudget",
    "AdaptiveThrottle",
    "CombinedBudget",
    "PolicyLayer",
    "BudgetShared"
  ],
  BudgetData: ["PolicyDocument", "BudgetStates", "LivePolicies", "Budget"],
  BudgetShared: ["Budget", "Steps", "Questions"],
  BudgetStates: ["Budget", "LivePolicies", "PolicyLayer"],
  CallEvents: ["driver/events", ...events, "scenario/observed"],
  CallHost: calls,
  CallLog: ["RegoLogs", "Observer"],
  CallMetrics: ["RegoMetrics", "MetricTable"],
  CallRecord: ["Attempt", "Timeline", "Rego", "Executor", "scenario/capture", ...events],
  CallSpans: ["driver/spans", "scenario/exporters"],
  Callback: ["driver/traps"],
  Classifier: ["SqlOutcome", "scenario/nested", "PolicyLayer", "Retry"],
  Cleanup: ["driver/resources", "driver/interruption", "Supervisor", ...events, "Executor"],
  CombinedBudget: budgets,
  ConcurrencyBudget: budgets,
  Deadline: ["scenario/nested"],
  DocumentClamp: ["PolicyDocument"],
  DocumentGate: [...live, "Rollout", "KillSwitch", "DocumentGuard", "DocumentClamp", "RegoMetrics"],
  DocumentGuard: ["PolicyDocument", "LivePolicies"],
  Event: ["scenario/observed", "driver/events"],
  Executor: calls,
  Explanation: ["PolicyReview", "PolicyProvider"],
  FetchLayer: ["FetchedPolicies"],
  FetchedPolicies: ["PolicyLayer"],
  GroupHedger: [...hedging, ...switches, ...events],
  Hedge: ["HedgeState", "Policy", "PolicyDocument", "Latency"],
  HedgeState: ["GroupHedger", "scenario/hedging"],
  Issue: ["Policy", "PolicyDocument", "Hedge", "Backoff", "Budget"],
  KillSwitch: ["LivePolicies", "Overrides", "PolicyLayer"],
  LastKnownGood: [...live, "FetchedPolicies"],
  Latency: ["Hedge", "HedgeState", "scenario/latency-and-hedging"],
  Line: ["CallLog", "WaterfallSvg"],
  LiveLayer: [...live, "PolicyLayer", "FetchedPolicies", "RegoMetrics", "RegoLogs", ...switches],
  LivePolicies: ["scenario/live-documents", "RegoMetrics", "RegoLogs", ...switches],
  Mailbox: ["RegoMetrics"],
  MetricReasons: ["CallMetrics"],
  MetricSeries: ["RegoMetrics", "CallMetrics", "MetricTable"],
  MetricTable: ["CallMetrics", "RegoMetrics"],
  Observer: events,
  ObserverLayers: [...events, "RegoLogs", "RecentCalls", "CallLog"],
  Outcome: ["Classifier", "Retry", "RegoError"],
  Overrides: ["KillSwitch", "PolicyProvider", "RegoLogs"],
  Permit: ["Budget", "ConcurrencyBudget"],
  Plan: ["Explanation", "HedgeState"],
  Policy: ["PolicyLayer", "PolicyDocument", "Issue", "Hedge"],
  PolicyDiff: ["PolicyReview"],
  PolicyDocument: ["DocumentClamp", "DocumentGuard", "LivePolicies", "scenario/live-documents", ...switches],
  PolicyKey: ["PolicySet"],
  PolicyLayer: ["Rego", "Budget", "Classifier", "LivePolicies", "FetchedPolicies"],
  PolicyMetrics: ["RegoMetrics", ...live],
  PolicyProvider: [...layers, "LivePolicies", "Overrides", "RegoLogs", "Explanation", "PolicyReview"],
  PolicyReview: ["Explanation", "PolicyProvider"],
  PolicySet: ["PolicyLayer", "PolicyDocument", "Overrides", "Explanation"],
  PolicySource: live,
  ProviderLayer: [...layers, "Supervisor", "driver/resources", "RegoMetrics", "Explanation", "LivePolicies"],
  ProviderMetrics: ["RegoMetrics"],
  ProviderState: [...layers, ...switches, ...live, "RegoMetrics", "RegoLogs", "Supervisor"],
  Questions: ["Steps", "Budget", "BudgetShared", ...calls],
  RatioBudget: ["BudgetModel", ...budgets, "Explanation", "PolicyReview"],
  Reasons: ["Timeline", "CallRecord", "Explanation", "MetricReasons"],
  RecentCalls: ["RegoLogs", "Observer"],
  Rego: [
    "driver/attempt-is-a-fiber",
    "scenario/callers",
    "scenario/properties",
    "ResilientService",
    "scenario/capture"
  ],
  RegoError: ["Rego", "Executor"],
  RegoLogs: ["CallLog", "Observer"],
  RegoMetrics: ["CallMetrics", "MetricTable"],
  ResilientClient: ["scenario/clients", "ResilientService"],
  ResilientService: ["scenario/clients"],
  Retry: ["Rego", "driver/hedging"],
  Rollout: live,
  ScheduleSteps: ["Steps", "Hedge"],
  SlidingSum: ["RatioBudget"],
  SpanTimeline: ["scenario/observed", "driver/spans", "Timeline"],
  SqlOutcome: ["Classifier", "scenario/sqlite"],
  Steps: ["Latency", "Backoff"],
  SuccessTokens: budgets,
  Supervisor: ["Cleanup", "driver/resources", "PolicyLayer"],
  Time: ["Backoff", "Retry", "Deadline", "Policy"],
  Timeline: [
    "scenario/capture",
    "CallRecord",
    "Rego",
    "WaterfallSvg",
    "Attempt",
    "driver/spans",
    "RegoLogs",
    "Explanation"
  ],
  Timer: ["driver/promptness"],
  TokenBucket: ["Bucket", ...budgets],
  Waterfall: ["WaterfallSvg", "Timeline"],
  WaterfallSvg: ["Timeline"],
  WaterfallText: ["WaterfallSvg", "Timeline"],
  WorstCase: ["Explanation", "PolicyReview", "Plan"]
}

/** What these keep in their module spoils later tests: each mutant gets modules of its own. */
const isolated: ReadonlySet<string> = new Set(["Timer", "ResilientService"])

export const isIsolated = (module: string): boolean => isolated.has(module)

/** Names of test files, without a suffix; not every module has one of its own. */
export const testsOf = (module: string): ReadonlyArray<string> => [...new Set([module, ...others[module] ?? []])]
