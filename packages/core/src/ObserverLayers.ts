/**
 * Layers of observers that stand side by side.
 *
 * A context holds one value of a reference: of two layers side by side that set `CurrentObservers` the last one replaces
 * the other, and nobody notices. So each layer also leaves a mark in the context, under a name of its own, and the layers
 * that are built together know one another. Who looks for the observers of a context finds the marks that stand in it: of
 * the layers that were merged there, and not of those that were provided to something else.
 *
 * @internal
 */
import type { Scope } from "effect"
import { Context, Effect, Layer } from "effect"
import type { Observer } from "./Observer.ts"

type AnyContext = Context.Context<never>
type Observers = ReadonlySet<Observer>

/** What a layer leaves in a context besides the observers. */
export interface Mark {
  readonly key: Context.Key<never, Mark>
  /** those that the layer sets where it stands alone */
  readonly observers: Observers
  /** of the layers in whose context it was built: what it keeps of theirs is among its `observers` */
  readonly around: ReadonlyArray<Mark>
}

const stands = (mark: Mark, context: AnyContext): boolean => Context.getOrUndefined(context, mark.key) === mark

/** Those that the context names come last: of several levels of spans the last counts. */
const unite = (marks: ReadonlyArray<Mark>, named: Observers): Observers => {
  const covered = new Set(marks.flatMap(({ around }) => around))
  const others = marks.filter((mark) => !covered.has(mark)).flatMap(({ observers }) => Array.from(observers))
  const before = others.filter((observer) => !named.has(observer))
  return before.length === 0 ? named : new Set([...before, ...named])
}

/** What was found in contexts that have these marks, in their order. */
class Found {
  united: Observers | undefined = undefined
  private readonly next = new Map<Mark, Found>()

  with(mark: Mark): Found {
    const known = this.next.get(mark)
    if (known !== undefined) return known
    const found = new Found()
    this.next.set(mark, found)
    return found
  }
}

/** For contexts that name the observers of one layer. */
interface Named {
  /** the marks to look for: not its own, nor those of layers around it */
  readonly others: ReadonlyArray<Mark>
  readonly found: Found
}

/** The layers that one memo map has built, and that are open. */
export class Siblings {
  private marks: ReadonlyArray<Mark> = []
  private named = new Map<Observers, Named>()

  standingIn(context: AnyContext): ReadonlyArray<Mark> {
    return this.marks.filter((mark) => stands(mark, context))
  }

  /** All who hear of a context that names `observers`, which one of these layers has set. */
  unite(context: AnyContext, observers: Observers): Observers {
    if (this.marks.length < 2) return observers
    const { found: first, others } = this.named.get(observers) ?? this.begin(observers)
    let found = first
    for (const mark of others) if (stands(mark, context)) found = found.with(mark)
    return found.united ??= unite(others.filter((mark) => stands(mark, context)), observers)
  }

  private begin(observers: Observers): Named {
    const own = this.marks.find((mark) => mark.observers === observers)
    const others = this.marks.filter((mark) => mark !== own && own?.around.includes(mark) !== true)
    const named: Named = { others, found: new Found() }
    this.named.set(observers, named)
    return named
  }

  /** For as long as the scope lasts. */
  add(mark: Mark): Effect.Effect<void, never, Scope.Scope> {
    return Effect.acquireRelease(
      Effect.sync(() => this.set([...this.marks, mark])),
      () => Effect.sync(() => this.set(this.marks.filter((other) => other !== mark)))
    )
  }

  private set(marks: ReadonlyArray<Mark>): void {
    this.marks = marks
    this.named = new Map()
  }
}

const builtBy = new WeakMap<Layer.MemoMap, Siblings>()
const setBy = new WeakMap<Observers, Siblings>()

const siblingsIn = (context: AnyContext): Siblings => {
  const memoMap = Context.getOrUndefined(context as Context.Context<Layer.CurrentMemoMap>, Layer.CurrentMemoMap)
  const siblings = (memoMap && builtBy.get(memoMap)) ?? new Siblings()
  if (memoMap !== undefined) builtBy.set(memoMap, siblings)
  return siblings
}

/** The layers among which one has set these observers; `undefined` when no layer has. */
export const siblingsOf = (observers: Observers): Siblings | undefined => setBy.get(observers)

let layers = 0

/** What a layer leaves its mark under, however often it is built: one that is given twice leaves one. */
export const newKey = (): Context.Key<never, Mark> =>
  Context.Service<never, Mark>(`@rego/core/Observer/layer/${++layers}`)

/** Stands where a layer sets no observer: an empty set is what a context names that has no layer. */
const nobody: Observer = { name: "nobody" }

/** What a layer sets in the context: its observers, and its mark. */
export const contextOf = (
  key: Context.Key<never, Mark>,
  reference: Context.Reference<Observers>,
  set: Observers
): Effect.Effect<AnyContext, never, Scope.Scope> =>
  Effect.flatMap(Effect.context<never>(), (context) => {
    const siblings = siblingsIn(context)
    const observers = set.size === 0 ? new Set([nobody]) : set
    const mark: Mark = { key, observers, around: siblings.standingIn(context) }
    setBy.set(observers, siblings)
    return Effect.as(siblings.add(mark), Context.add(Context.make(reference, observers), key, mark))
  })
