/**
 * A view of a service in which each method that returns an effect is a call under a policy.
 *
 * The view is a proxy, so that it works for what cannot be listed: prototypes, getters, clients that are proxies
 * themselves. Behind it stands a bare object, not the service: a proxy must not answer for a frozen property with another
 * value than its target has.
 *
 * @internal
 */
import { Effect, Predicate } from "effect"
import * as Callback from "./Callback.ts"
import type * as Classifier from "./Classifier.ts"
import type * as PolicyKey from "./PolicyKey.ts"
import type { RegoError } from "./RegoError.ts"

// -----------------------------------------------------------------------------
// types: what becomes of a member
// -----------------------------------------------------------------------------

type AnyEffect = Effect.Effect<any, any, any>

/** Errors of Effect are effects as well, and are left alone. */
type Resilient<T, R> = T extends Error ? T
  : T extends Effect.Effect<infer A, infer E, infer R0> ? Effect.Effect<A, E | RegoError, R0 | R>
  : T

/**
 * The last four overloads; where there are fewer, the first one is repeated. Some signatures with type parameters do not
 * match four at once.
 */
type Overloads<F> = F extends {
  (...args: infer A1): infer B1
  (...args: infer A2): infer B2
  (...args: infer A3): infer B3
  (...args: infer A4): infer B4
} ? [[A1, B1], [A2, B2], [A3, B3], [A4, B4]]
  : F extends (...args: infer A) => infer B ? [[A, B], [A, B], [A, B], [A, B]]
  : never

type Signature<A, B, R> = A extends ReadonlyArray<unknown> ? (...args: A) => Resilient<B, R> : never

type Signatures<O, R> = O extends
  [[infer A1, infer B1], [infer A2, infer B2], [infer A3, infer B3], [infer A4, infer B4]]
  ? Signature<A1, B1, R> & Signature<A2, B2, R> & Signature<A3, B3, R> & Signature<A4, B4, R>
  : never

type AnyFunction = (...args: never) => unknown

type Method<F, R> = keyof F extends never ? Signatures<Overloads<F>, R>
  : Signatures<Overloads<F>, R> & Pick<F, keyof F>

type Returned<F> = Overloads<F> extends infer O extends ReadonlyArray<[unknown, unknown]> ? O[number][1] : never

type IsCall<T> = T extends AnyFunction ?
  [Extract<Exclude<Returned<T>, Error>, AnyEffect>] extends [never] ? false : true
  : T extends Error ? false
  : T extends AnyEffect ? true
  : false

/** What carries a type id is a thing of its own, such as a `Cache` or a `Queue`. */
type IsBare<T> = [Extract<keyof T, symbol | `~${string}`>] extends [never] ? true : false

type Calls<T> = { [K in keyof T]-?: K extends string ? true extends IsCall<T[K]> ? K : never : never }[keyof T]

type IsGroup<T> = T extends AnyFunction | ReadonlyArray<unknown> | AnyEffect ? false
  : T extends object ? IsBare<T> extends true ? [Calls<T>] extends [never] ? false : true : false
  : false

export type MethodName<S> =
  & {
    [K in keyof S]-?: K extends string ? true extends IsCall<S[K]> ? K
      : true extends IsGroup<S[K]> ? K | `${K}.${Calls<S[K]> & string}`
      : never
      : never
  }[keyof S]
  & string

type IsIn<Path extends string, Names> = Names extends string ? Path extends Names | `${Names}.${string}` ? true : never
  : never

type IsSelected<Path extends string, Only, Except> = true extends IsIn<Path, Except> ? false
  : true extends IsIn<Path, Only> ? true
  : false

type Member<T, Path extends string, R, Only, Except> = true extends IsCall<T>
  ? IsSelected<Path, Only, Except> extends true ? T extends AnyFunction ? Method<T, R> : Resilient<T, R> : T
  : T

type Group<T, Path extends string, R, Only, Except> = {
  readonly [K in keyof T]: K extends string ? Member<T[K], `${Path}.${K}`, R, Only, Except> : T[K]
}

export type ResilientService<S, R, Only = string, Except = never> = {
  readonly [K in keyof S]: K extends string
    ? true extends IsGroup<S[K]> ? Group<S[K], K, R, Only, Except> : Member<S[K], K, R, Only, Except>
    : S[K]
}

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

/** A list that is no literal may hold fewer names than its type: then all names may have been wrapped. */
export type Listed<Names extends ReadonlyArray<string>> = number extends Names["length"] ? never : Names[number]

/** A value for each name, which for a method without one is that of its group; or a function from the name. */
export type PerMethod<Names extends string, T> =
  | { readonly [N in Names]?: T | undefined }
  | ((name: Names) => T | undefined)

export interface ServiceOptions<
  Names extends string = string,
  Only extends string = string,
  Except extends ReadonlyArray<string> = ReadonlyArray<string>
> {
  /** the key of a method is `namespace.method`, or `namespace.group.method` */
  readonly namespace: string
  /** whole keys, for methods that should have another one */
  readonly keys?: PerMethod<Names, PolicyKey.Input> | undefined
  /** whether running a method twice is safe; counts more than what the policy says */
  readonly idempotent?: boolean | PerMethod<Names, boolean> | undefined
  /** methods to wrap, and groups with all of theirs; the others are left alone */
  readonly only?: ReadonlyArray<Only> | undefined
  /** methods and groups that are left alone */
  readonly except?: Except | undefined
  /** asked before the classifier of the policy, for each method */
  readonly classifier?: Classifier.Any | undefined
}

/** `Rego.resilient`, with or without its requirement. */
export type Operator = (
  self: Effect.Effect<unknown, unknown, unknown>,
  key: PolicyKey.Input,
  options: {
    readonly idempotent: boolean | undefined
    readonly classifier: Classifier.Any | undefined
  }
) => Effect.Effect<unknown, unknown, unknown>

const groupOf = (path: string): string => path.slice(0, Math.max(0, path.indexOf(".")))

export const perMethod = <T>(from: T | PerMethod<string, T> | undefined, path: string): T | undefined => {
  if (typeof from === "function") return (from as (name: string) => T | undefined)(path)
  if (typeof from !== "object" || from === null) return from
  const named = (name: string) => Object.hasOwn(from, name) ? (from as Record<string, T>)[name] : undefined
  return named(path) ?? named(groupOf(path))
}

const includes = (names: ReadonlyArray<string>, path: string): boolean =>
  names.some((name) => path === name || path.startsWith(`${name}.`))

const isSelected = ({ except, only }: ServiceOptions, path: string): boolean =>
  (only === undefined || includes(only, path)) && !(except !== undefined && includes(except, path))

// -----------------------------------------------------------------------------
// the view
// -----------------------------------------------------------------------------

const isCall = (value: unknown): value is Effect.Effect<unknown, unknown, unknown> =>
  Effect.isEffect(value) && typeof value === "object" && !(value instanceof Error)

/** A plain object without a type id that holds something to wrap, as the groups of an `HttpApi` client are. */
const isGroup = (value: unknown): value is object => {
  if (!Predicate.isObject(value)) return false
  const prototype = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return false
  const keys = Reflect.ownKeys(value)
  if (keys.some((key) => typeof key === "symbol" || key.startsWith("~"))) return false
  return keys.some((key) => {
    const member = Reflect.getOwnPropertyDescriptor(value, key)?.value
    return typeof member === "function" || isCall(member)
  })
}

/** What belongs to the object rather than to the service. */
const isOwnAffair = (name: string): boolean => name === "constructor" || name === "pipe"

/** Wrapped members are remembered, so that a member is the same object each time; a service of proxies may have any. */
const maxRemembered = 1_000

/** The functions among the options, each reported once for all members of a service. */
interface Guards {
  readonly keys: Callback.Guard
  readonly idempotent: Callback.Guard
}

/** Runs the first time only. */
const once = (self: Effect.Effect<void>): Effect.Effect<void> => {
  let next = self
  return Effect.suspend(() => {
    const now = next
    next = Effect.void
    return now
  })
}

/** One view: of the service, or of a group in it. */
class View implements ProxyHandler<object> {
  private readonly owner: object
  private readonly prefix: string
  private readonly options: ServiceOptions
  private readonly operator: Operator
  private readonly guards: Guards
  private readonly remembered = new Map<string, readonly [member: unknown, wrapped: unknown]>()

  constructor(owner: object, prefix: string, options: ServiceOptions, operator: Operator, guards: Guards) {
    this.owner = owner
    this.prefix = prefix
    this.options = options
    this.operator = operator
    this.guards = guards
  }

  get(_: object, name: string | symbol): unknown {
    const member: unknown = Reflect.get(this.owner, name)
    if (typeof name === "symbol" || isOwnAffair(name)) return member
    const known = this.remembered.get(name)
    if (known !== undefined && known[0] === member) return known[1]
    const wrapped = this.wrap(member, `${this.prefix}${name}`)
    if (wrapped !== member && this.remembered.size < maxRemembered) this.remembered.set(name, [member, wrapped])
    return wrapped
  }

  private wrap(member: unknown, path: string): unknown {
    if (typeof member === "function" && !Effect.isEffect(member)) return this.method(member, path)
    if (isCall(member)) return isSelected(this.options, path) ? this.call(path)(member) : member
    return this.prefix === "" && isGroup(member)
      ? view(member, `${path}.`, this.options, this.operator, this.guards)
      : member
  }

  /** Bound to the service, whose methods may use `this`, and call each other without another layer of retries. */
  private method(method: Function, path: string): unknown {
    const call = isSelected(this.options, path) ? this.call(path) : undefined
    return new Proxy(method, {
      apply: (target, _, args) => {
        const result: unknown = Reflect.apply(target, this.owner, args)
        return call !== undefined && isCall(result) ? call(result) : result
      }
    })
  }

  private call(path: string): (self: Effect.Effect<unknown, unknown, unknown>) => unknown {
    const { classifier, idempotent, keys, namespace } = this.options
    const ownName = `${namespace}.${path}`
    const defects: Array<Effect.Effect<void>> = []
    const report = (line: Effect.Effect<void>) => void defects.push(line)
    const key = this.guards.keys(() => perMethod<PolicyKey.Input>(keys, path) ?? ownName, () => ownName, report)
    const stated = this.guards.idempotent(() => perMethod(idempotent, path), () => false, report)
    const options = { classifier, idempotent: stated }
    if (defects.length === 0) return (self) => this.operator(self, key, options)
    const told = once(Effect.all(defects, { discard: true }))
    return (self) => Effect.andThen(told, this.operator(self, key, options))
  }

  set(_: object, name: string | symbol, value: unknown): boolean {
    return Reflect.set(this.owner, name, value)
  }

  has(_: object, name: string | symbol): boolean {
    return Reflect.has(this.owner, name)
  }

  ownKeys(): Array<string | symbol> {
    return Reflect.ownKeys(this.owner)
  }

  getOwnPropertyDescriptor(target: object, name: string | symbol): PropertyDescriptor | undefined {
    const descriptor = Reflect.getOwnPropertyDescriptor(this.owner, name)
    if (descriptor === undefined) return undefined
    return "value" in descriptor
      ? { ...descriptor, value: this.get(target, name), configurable: true }
      : { ...descriptor, get: () => this.get(target, name), configurable: true }
  }

  defineProperty(_: object, name: string | symbol, descriptor: PropertyDescriptor): boolean {
    return Reflect.defineProperty(this.owner, name, descriptor)
  }

  deleteProperty(_: object, name: string | symbol): boolean {
    return Reflect.deleteProperty(this.owner, name)
  }
}

const view = (...[owner, ...rest]: ConstructorParameters<typeof View>): object =>
  new Proxy(Object.create(Object.getPrototypeOf(owner)), new View(owner, ...rest))

export const viewOf = (service: object, options: ServiceOptions, operator: Operator): object =>
  view(service, "", options, operator, {
    keys: Callback.guard("the keys option of a service"),
    idempotent: Callback.guard("the idempotent option of a service")
  })
