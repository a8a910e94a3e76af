/**
 * Runs `work` on all items. When it fails in a way that one item may have caused, runs it on each half, and so on, until the
 * item at fault is alone.
 * @param blamesItem whether an error may be one item's fault; any other error is thrown at once
 * @param reject called with each item that failed alone
 */
export async function bisect<Item>(
  items: readonly Item[],
  work: (items: readonly Item[]) => Promise<void>,
  blamesItem: (error: unknown) => boolean,
  reject: (item: Item, error: unknown) => void,
): Promise<void> {
  try {
    await work(items);
  } catch (error) {
    if (!blamesItem(error)) throw error;
    if (items.length === 1) {
      reject(items[0]!, error);
      return;
    }
    const middle = items.length >> 1;
    await bisect(items.slice(0, middle), work, blamesItem, reject);
    await bisect(items.slice(middle), work, blamesItem, reject);
  }
}
