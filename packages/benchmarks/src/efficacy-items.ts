/** All items, in their order. */
import { liveItem } from "./efficacy-live.ts"
import type { Item } from "./efficacy-model.ts"
import { nestedItem, outageItem, smallItem, throttleItem } from "./efficacy-outages.ts"
import { metastableItem, overloadItem, slowItem } from "./efficacy-overloads.ts"
import { speedItem } from "./efficacy-speed.ts"
import { fanOutItem, longTailItem } from "./efficacy-tails.ts"

export const items: ReadonlyArray<Item> = [
  longTailItem,
  fanOutItem,
  outageItem,
  metastableItem,
  overloadItem,
  slowItem,
  nestedItem,
  throttleItem,
  smallItem,
  liveItem,
  speedItem
]
