/** What package-lock.json says of the packages that we download. */
export interface Locked {
  readonly version?: string
  readonly license?: string
  readonly integrity?: string
  readonly resolved?: string
  readonly link?: boolean
  readonly dev?: boolean
  readonly optional?: boolean
  readonly hasInstallScript?: boolean
}

export interface Rules {
  /** licences that ask for no more than to be named */
  readonly permissive: ReadonlySet<string>
  /** licences of single packages that are used here and never handed on */
  readonly exceptions: Readonly<Record<string, string>>
  /** packages whose checksum is not known, for other platforms than ours; nothing else may miss one */
  readonly gaps: ReadonlySet<string>
  /** `false` for a package whose script does not run */
  readonly allowScripts: Readonly<Record<string, boolean>>
}

interface Named extends Locked {
  readonly name: string
}

const downloads = (packages: Readonly<Record<string, Locked>>): ReadonlyArray<Named> =>
  Object.entries(packages)
    .filter(([path, { link }]) => path.includes("node_modules/") && link !== true)
    .map(([path, locked]) => ({
      ...locked,
      name: path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length)
    }))

const licenceErrors = ({ license, name }: Named, rules: Rules): ReadonlyArray<string> => {
  if (license === undefined) return rules.gaps.has(name) ? [] : [`${name}: no licence`]
  const allowed = rules.permissive.has(license) || rules.exceptions[name] === license
  return allowed ? [] : [`${name}: licence ${license}`]
}

const integrityErrors = ({ integrity, name }: Named, { gaps }: Rules): ReadonlyArray<string> => {
  const known = integrity?.startsWith("sha512-") === true
  if (known && gaps.has(name)) return [`${name}: has a checksum, and is listed as one without`]
  return known || gaps.has(name) ? [] : [`${name}: no checksum`]
}

const scriptErrors = ({ hasInstallScript, name }: Named, { allowScripts }: Rules): ReadonlyArray<string> =>
  hasInstallScript === true && allowScripts[name] !== false ? [`${name}: would run a script when it is installed`] : []

const hostErrors = ({ name, resolved }: Named): ReadonlyArray<string> =>
  resolved === undefined ? [] : [`${name}: comes from ${resolved}, and not from wherever npm is told to look`]

/** What is wrong with what we download, a line for each. */
export const lockErrors = (packages: Readonly<Record<string, Locked>>, rules: Rules): ReadonlyArray<string> => {
  const all = downloads(packages)
  const names = new Set(all.map(({ name }) => name))
  return [
    ...all.flatMap((one) =>
      [licenceErrors, integrityErrors, scriptErrors, hostErrors].flatMap((check) => check(one, rules))
    ),
    ...[...rules.gaps].filter((name) => !names.has(name)).map((name) =>
      `${name}: listed as one without a checksum, and gone`
    )
  ]
}
