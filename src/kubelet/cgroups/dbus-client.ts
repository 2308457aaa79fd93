/**
 * What is used of dbus-native, in a file of its own that is imported when it is needed.
 * Layer: kubelet/cgroups. dbus-native is CommonJS: in the package's bundle `import('dbus-native')` has no names but
 * `default`, while what a file names, as here, is found there as it is outside.
 */
export { createClient } from 'dbus-native';
