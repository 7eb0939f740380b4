"""Callers who mean harm, who are mistaken, or who are in great numbers."""
