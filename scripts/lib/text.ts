export const indent = (text: string, by = "  "): string => text.trimEnd().replaceAll(/^/gm, by)
