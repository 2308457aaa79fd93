/**
 * Readers of decoded JSON from an API server or a file: each gives a value of a known type or says which field is not.
 * Null is absence, as Go writes empty lists and maps. Fields that nobody asks for are not looked at.
 * Layer: api (pure). Must not know kinds; rules beyond the type (ranges, formats) are the reader's of the projected object.
 */
import { isRecord } from '../config/schema-compound.ts';
import { KeelsonError } from '../observe/keelson-error.ts';

/** The object is not of the shape that its kind has; `object` names the field, e.g. `spec.ports[2].port`. */
export class ObjectShapeError extends KeelsonError {
  constructor(field: string, expected: string, value: unknown) {
    const shown = (JSON.stringify(value) ?? 'undefined').slice(0, 60);
    super('OBJECT_SHAPE', `is ${shown}, not ${expected}`, { object: field, fix: 'correct the field' });
  }
}

/** A JSON object with the path that leads to it. Own properties only, so that a hostile `__proto__` is a plain key. */
export class RawObject {
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #path: string;

  /** @throws ObjectShapeError */
  constructor(value: unknown, path = '') {
    if (!isRecord(value)) throw new ObjectShapeError(path === '' ? 'object' : path, 'an object', value);
    this.#fields = value;
    this.#path = path;
  }

  /** @throws ObjectShapeError */
  text(name: string): string | undefined {
    const value = this.#get(name);
    if (value === undefined || typeof value === 'string') return value;
    throw this.#wrong(name, 'a string', value);
  }

  /** @throws ObjectShapeError when it is missing or empty, too */
  requiredText(name: string): string {
    const value = this.text(name);
    if (value === undefined || value === '') throw this.#wrong(name, 'a string with something in it', value);
    return value;
  }

  /** One of `words`. @throws ObjectShapeError */
  word<const Word extends string>(name: string, words: readonly Word[]): Word | undefined {
    const value = this.text(name);
    if (value === undefined || value === '') return undefined;
    const word = words.find((candidate) => candidate === value);
    if (word === undefined) throw this.#wrong(name, `one of ${words.join(', ')}`, value);
    return word;
  }

  /** @throws ObjectShapeError */
  requiredWord<const Word extends string>(name: string, words: readonly Word[]): Word {
    const word = this.word(name, words);
    if (word === undefined) throw this.#wrong(name, `one of ${words.join(', ')}`, undefined);
    return word;
  }

  /** Empty when absent. @throws ObjectShapeError */
  words<const Word extends string>(name: string, words: readonly Word[]): Word[] {
    return this.texts(name).map((text, index) => {
      const word = words.find((candidate) => candidate === text);
      if (word !== undefined) return word;
      throw new ObjectShapeError(`${this.#at(name)}[${index}]`, `one of ${words.join(', ')}`, text);
    });
  }

  /** @throws ObjectShapeError for anything but a safe integer */
  integer(name: string): number | undefined {
    const value = this.#get(name);
    if (value === undefined || (typeof value === 'number' && Number.isSafeInteger(value))) return value;
    throw this.#wrong(name, 'a whole number', value);
  }

  /** @throws ObjectShapeError */
  requiredInteger(name: string): number {
    const value = this.integer(name);
    if (value === undefined) throw this.#wrong(name, 'a whole number', value);
    return value;
  }

  /** IntOrString, such as a port. @throws ObjectShapeError */
  integerOrText(name: string): number | string | undefined {
    const value = this.#get(name);
    return typeof value === 'string' ? value : this.integer(name);
  }

  /** @throws ObjectShapeError */
  boolean(name: string): boolean | undefined {
    const value = this.#get(name);
    if (value === undefined || typeof value === 'boolean') return value;
    throw this.#wrong(name, 'true or false', value);
  }

  /** @throws ObjectShapeError */
  object(name: string): RawObject | undefined {
    const value = this.#get(name);
    return value === undefined ? undefined : new RawObject(value, this.#at(name));
  }

  /** Empty when absent. @throws ObjectShapeError */
  objects(name: string): RawObject[] {
    return this.values(name).map((value, index) => new RawObject(value, `${this.#at(name)}[${index}]`));
  }

  /** Empty when absent. @throws ObjectShapeError */
  texts(name: string): string[] {
    return this.values(name).map((value, index) => {
      if (typeof value === 'string') return value;
      throw new ObjectShapeError(`${this.#at(name)}[${index}]`, 'a string', value);
    });
  }

  /** @throws ObjectShapeError */
  textMap(name: string): Record<string, string> | undefined {
    const value = this.#get(name);
    if (value === undefined) return undefined;
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw this.#wrong(name, 'a map of strings', value);
    const entries: [string, string][] = [];
    for (const [key, member] of Object.entries(value)) {
      if (typeof member !== 'string') throw new ObjectShapeError(`${this.#at(name)}.${key}`, 'a string', member);
      entries.push([key, member]);
    }
    return Object.fromEntries(entries);
  }

  /** Members of any type; empty when absent. @throws ObjectShapeError */
  values(name: string): readonly unknown[] {
    const value = this.#get(name);
    if (value === undefined) return [];
    if (!Array.isArray(value)) throw this.#wrong(name, 'a list', value);
    return value;
  }

  /** Null and absence are one. */
  #get(name: string): unknown {
    const value = Object.hasOwn(this.#fields, name) ? this.#fields[name] : undefined;
    return value === null ? undefined : value;
  }

  #at(name: string): string {
    return this.#path === '' ? name : `${this.#path}.${name}`;
  }

  #wrong(name: string, expected: string, value: unknown): ObjectShapeError {
    return new ObjectShapeError(this.#at(name), expected, value);
  }
}
