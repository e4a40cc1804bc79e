"""What fans out: Apache Beam pipelines and the parts they share."""
