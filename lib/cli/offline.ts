export async function runCheck(_o: object): Promise<void> {}
export async function runInspect(_o: object): Promise<void> {}
