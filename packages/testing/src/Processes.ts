/**
 * The processes of the clients: each with a policy layer of its own, built anew when the process is replaced.
 *
 * @internal
 */
import type { PolicyProvider } from "@rego/core"
import { Cause, Context, Duration, Effect, Exit, Layer, Logger, Random, Scope } from "effect"
import type { Scenario } from "./Scenario.ts"
import type { VirtualTime } from "./VirtualTime.ts"

interface Settings {
  readonly scenario: Scenario
  readonly policies: Layer.Layer<PolicyProvider.PolicyProvider, unknown, never>
  readonly shared: Layer.Layer<never, unknown>
}

type ProcessContext = Context.Context<PolicyProvider.PolicyProvider>

interface Process {
  context: ProcessContext
  scope: Scope.Closeable
}

const notInVirtualTime = Cause.die(
  new Error("the policies of a simulation must be built at once: their layer waits for something outside of it")
)

/** What boot has to say is said when a policy is checked; here it would be said once for each process and seed. */
const quiet: ReadonlySet<Logger.Logger<unknown, never>> = new Set()

export class Processes {
  failure: Cause.Cause<unknown> | undefined = undefined
  private readonly all: Array<Process> = []
  private readonly sharedScope = Scope.makeUnsafe()
  private readonly world: Context.Context<never>
  private readonly time: VirtualTime
  private readonly settings: Settings

  constructor(time: VirtualTime, settings: Settings, random: Random.Random) {
    this.time = time
    this.settings = settings
    const bare = time.context.pipe(
      Context.add(Random.Random, random),
      Context.add(Logger.CurrentLoggers, quiet)
    )
    this.world = Context.merge(bare, this.build(bare, settings.shared, this.sharedScope) ?? Context.empty())
    const { processes } = settings.scenario.clients
    for (let i = 0; i < processes && this.failure === undefined; i++) this.start(i)
    this.planReplacements()
  }

  context(process: number): ProcessContext {
    return this.all[process]!.context
  }

  /** Layers wait for nothing in virtual time; one that waits for something else could not be repeated. */
  private build<A>(
    context: Context.Context<never>,
    layer: Layer.Layer<A, unknown, never>,
    scope: Scope.Scope
  ): Context.Context<A> | undefined {
    const fiber = Effect.runForkWith(context)(Layer.buildWithMemoMap(layer, Layer.makeMemoMapUnsafe(), scope))
    this.time.settle()
    const exit = fiber.pollUnsafe() ?? Exit.failCause(notInVirtualTime)
    if (Exit.isSuccess(exit)) return exit.value
    this.failure = exit.cause
    return undefined
  }

  private start(index: number): void {
    const scope = Scope.makeUnsafe()
    const built = this.build(this.world, this.settings.policies, scope)
    if (built !== undefined) this.all[index] = { context: Context.merge(this.world, built), scope }
  }

  /** Those of one age would all be replaced at once. */
  private planReplacements(): void {
    const { processes, processLifetime } = this.settings.scenario.clients
    if (processLifetime === undefined) return
    const lifetime = Duration.toMillis(processLifetime)
    for (let i = 0; i < processes; i++) this.time.after(lifetime * (i + 1) / processes, () => this.replace(i, lifetime))
  }

  private replace(index: number, lifetime: number): void {
    this.end(this.all[index]!)
    this.start(index)
    this.time.after(lifetime, () => this.replace(index, lifetime))
  }

  /** Its calls in flight go on with what they have. Nobody waits: what is left behind lives in virtual time and ends with it. */
  private end({ scope }: Process): void {
    this.closeScope(scope)
  }

  private closeScope(scope: Scope.Closeable): void {
    Effect.runForkWith(this.world)(Scope.close(scope, Exit.void))
    this.time.settle()
  }

  close(): void {
    for (const process of this.all) this.end(process)
    this.closeScope(this.sharedScope)
  }
}
