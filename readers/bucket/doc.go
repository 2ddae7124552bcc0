// Package bucket speaks S3: it lists objects, reads them as they were when they were listed, and makes new ones. What the
// objects mean is known to readers/usage and writers/settlement, which both stand on it, so that nothing is written twice.
//
// Each request is tried again with back-off where trying again may help. Bytes that are cut off on their way are asked for
// again; every request for bytes of an object bears its ETag, so that no reader gets bytes of two versions. Whether a write
// was carried out is never guessed from its answer: where that is unclear, the object is looked at and compared.
package bucket
