// Nothing is kept in a browser, where any script of the page could read it: a reload signs out.
export const start = async () => {};
export const clear = async () => [];
export const get = async (_name: string): Promise<string | null> => null;
export const put = async (_name: string, _value: string | null) => {};
export const load = (_owner: string): string | null => null;
export const save = (_owner: string, _text: string) => {};
export const erase = (_owner: string) => {};
